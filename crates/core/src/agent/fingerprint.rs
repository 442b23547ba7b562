//! When two containers are the same.

use flocker_types::app::RestartPolicy;
use flocker_types::task::ContainerSpec;

/// Names everything that a container cannot change while it lives: two containers with the same
/// fingerprint are the same. FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv), over the JSON.
pub(crate) fn fingerprint(container: &ContainerSpec) -> String {
    let mut lasting = container.clone();
    lasting.image_id = None;
    lasting.cluster_address = None;
    lasting.spec.pause_budget_ms = 0;
    lasting.spec.depends_on.clear();
    lasting.spec.restart = RestartPolicy::Never;
    lasting.spec.stop_grace_ms = 0;
    let json = serde_json::to_string(&lasting).expect("a container's description is plain data");
    let hash = json.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
