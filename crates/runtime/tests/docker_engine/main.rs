//! The Docker implementation against a real engine. One test, so that its cases share one engine;
//! each case is named as it runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of this is a test: it fails by panicking and says which case runs"
)]

mod configuration;
mod failures;
mod filling;
mod gates;
mod images;
mod lifecycle;
mod observing;
mod options;
mod world;

use std::time::Instant;
use world::World;

macro_rules! run_cases {
    ($world:expr, $($case:path),* $(,)?) => {
        $(
            let begun = Instant::now();
            println!("case {} ...", stringify!($case));
            $case($world).await;
            println!("     passed in {} ms", begun.elapsed().as_millis());
        )*
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_engine() {
    let world = World::new().await;
    tokio::join!(
        failures::a_silent_registry_is_given_up(&world),
        everything_else(&world)
    );
}

async fn everything_else(world: &World) {
    run_cases!(
        world,
        lifecycle::conforms,
        lifecycle::stop_is_quick_and_complete,
        lifecycle::stop_signal_is_the_requests_own,
        lifecycle::foreign_containers_are_left_alone,
        configuration::everything_asked_for_arrives,
        options::every_option_does_what_it_says,
        options::shared_namespaces_and_missing_directories,
        configuration::what_is_impossible_is_refused,
        configuration::the_fixed_address_answers,
        configuration::mounts_are_seen_also_later_ones,
        configuration::connect_again_and_with_another_subnet,
        observing::health_changes_are_told,
        observing::logs_have_tail_and_follow,
        gates::a_gate_changes_nothing,
        gates::an_images_own_settings_hold,
        gates::a_command_that_is_not_there_ends_it,
        gates::another_runtime_finds_what_waits,
        gates::a_signal_ends_a_gate,
        gates::what_cannot_wait_is_refused,
        gates::a_check_that_passes_at_the_gate_is_not_believed,
        gates::it_passes_in_milliseconds,
        filling::a_new_volume_begins_as_the_image_is_there,
        images::ports_are_read,
        images::an_image_travels_to_another_engine,
        failures::a_dead_engine_is_said_to_be_dead,
    );
}
