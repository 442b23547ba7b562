//! The labels by which our containers and networks are known in an engine, and filters for them.
//! Written when a container is made, read by everything else here.

use flocker_types::ids::ClusterId;
use std::collections::HashMap;

/// The cluster's id.
pub const LABEL_CLUSTER: &str = "io.flocker.cluster";
/// The service, as [`flocker_types::ids::ServiceId`] shows itself.
pub const LABEL_SERVICE: &str = "io.flocker.service";
/// The fingerprint of the request that the container was made from.
pub const LABEL_FINGERPRINT: &str = "io.flocker.fingerprint";
/// The container's fixed address.
pub const LABEL_ADDRESS: &str = "io.flocker.address";
/// Present when the container begins at a gate.
pub const LABEL_GATE: &str = "io.flocker.gate";

/// On a container that was made to look into its image, and never runs: the cluster's id.
pub const LABEL_FILL: &str = "io.flocker.fill";

/// The filter that lets only this cluster's objects through.
pub(super) fn of_cluster(cluster: ClusterId) -> HashMap<String, Vec<String>> {
    HashMap::from([(
        "label".to_owned(),
        vec![format!("{LABEL_CLUSTER}={cluster}")],
    )])
}
