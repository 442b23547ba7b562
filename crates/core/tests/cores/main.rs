//! The cores together: control, agents and route tables, in a world without IO.

mod crash;
mod deletion;
mod late;
mod lies;
mod plan_laws;
mod recover;
mod restart;
mod story;
mod usage;
mod world;
