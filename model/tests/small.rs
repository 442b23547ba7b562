//! The small scenarios, each explored to its last state. Each is a test of its own, so that they run
//! side by side.

use flocker_model::{explore, scenario};

/// Explores one scenario; answers how many states it has.
fn holds(number: usize) -> usize {
    let scenarios = scenario::small();
    let scenario = &scenarios[number];
    let report = explore(scenario, usize::MAX);
    if let Some((violation, steps)) = report.broken {
        panic!(
            "{}: {violation}; the shortest way:\n{}",
            scenario.name,
            steps.join("\n")
        );
    }
    assert!(report.complete, "every state was seen");
    assert!(report.at_rest > 0, "it comes to rest");
    assert!(
        report.in_flight_max >= 3,
        "messages are on their way together"
    );
    report.states
}

macro_rules! scenarios {
    ($($test:ident: $number:literal, more than $states:literal,)+) => {
        $(#[test]
        fn $test() {
            let states = holds($number);
            // Fewer would mean that something is not tried any more.
            assert!(states > $states, "{states} states");
        })+

        #[test]
        fn every_scenario_has_its_test() {
            assert_eq!([$($number),+].len(), scenario::small().len());
        }
    };
}

scenarios! {
    a_first_move_while_processes_die: 0, more than 20_000,
    a_move_back_while_processes_die: 1, more than 15_000,
    a_move_in_trouble: 2, more than 5_000,
    a_move_while_a_node_reboots: 3, more than 7_000,
    a_move_with_a_proxy: 4, more than 1_000,
    there_and_back_with_late_news: 5, more than 20_000,
    three_nodes: 6, more than 1_000,
    a_change_while_processes_die: 7, more than 1_500,
    a_removal_while_processes_die: 8, more than 10_000,
}
