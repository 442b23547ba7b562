//! The house rules as tests: what files look like, who may depend on whom, and which libraries
//! are linked in.
//!
//! `make verify` and `make test` run them over the whole repository. Each rule is a function from
//! what was found to the violations, and is itself tested on a small bad example. Nothing here is
//! linked into the product, and nothing here changes a file.

#[cfg(test)]
mod allow_list;
#[cfg(test)]
mod dependency_rules;
#[cfg(test)]
mod layer_rules;
#[cfg(test)]
mod licence;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod script_rules;
#[cfg(test)]
mod source_rules;
#[cfg(test)]
mod workspace;
