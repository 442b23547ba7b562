//! The node's container network: a bridge of our own in which every container has a fixed address.
//! Made at connect, and again when somebody removed it.

use super::Docker;
use super::engine::{CHANGE_MS_MAX, QUERY_MS_MAX};
use super::errors::failed;
use super::labels::LABEL_CLUSTER;
use crate::runtime_trait::{RuntimeError, RuntimeErrorKind};
use bollard::errors::Error as ClientError;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use flocker_types::ids::ClusterId;
use std::collections::HashMap;

/// Name of a cluster's container network on every node.
pub fn network_name(cluster: ClusterId) -> String {
    format!("flocker-{}", cluster.short())
}

/// Name of its bridge, short enough for the kernel (15 bytes).
fn bridge_name(cluster: ClusterId) -> String {
    format!("flk-{}", cluster.short())
}

impl Docker {
    /// Makes the container network unless it is there.
    pub(super) async fn ensure_network(&self) -> Result<(), RuntimeError> {
        let name = network_name(self.cluster);
        let action = format!("make the container network {name}");
        if let Some(found) = self.find_network(&action, &name).await? {
            return self.check_network(&action, &found);
        }
        let request = self.network_request(&name);
        let made = self
            .engine
            .call(
                &action,
                CHANGE_MS_MAX,
                self.engine.client().create_network(request),
            )
            .await;
        match made {
            Ok(_) => Ok(()),
            // Somebody else of us may have been faster.
            Err(error) => match self.find_network(&action, &name).await? {
                Some(found) => self.check_network(&action, &found),
                None => Err(error),
            },
        }
    }

    fn network_request(&self, name: &str) -> NetworkCreateRequest {
        NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                driver: Some("default".to_owned()),
                config: Some(vec![IpamConfig {
                    subnet: Some(self.subnet.to_string()),
                    gateway: Some(self.subnet.gateway().to_string()),
                    ..IpamConfig::default()
                }]),
                options: None,
            }),
            options: Some(HashMap::from([(
                "com.docker.network.bridge.name".to_owned(),
                bridge_name(self.cluster),
            )])),
            labels: Some(HashMap::from([(
                LABEL_CLUSTER.to_owned(),
                self.cluster.to_string(),
            )])),
            ..NetworkCreateRequest::default()
        }
    }

    async fn find_network(
        &self,
        action: &str,
        name: &str,
    ) -> Result<Option<NetworkInspect>, RuntimeError> {
        let request = async {
            match self.engine.client().inspect_network(name, None).await {
                Ok(found) => Ok(Some(found)),
                Err(ClientError::DockerResponseServerError {
                    status_code: 404, ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.engine.call(action, QUERY_MS_MAX, request).await
    }

    fn check_network(&self, action: &str, found: &NetworkInspect) -> Result<(), RuntimeError> {
        match network_mismatch(found, &self.subnet.to_string()) {
            None => Ok(()),
            Some(reason) => Err(failed(action, RuntimeErrorKind::Refused(reason))),
        }
    }
}

/// Why the network that was found is not the one we need.
fn network_mismatch(found: &NetworkInspect, subnet: &str) -> Option<String> {
    let driver = found.driver.as_deref().unwrap_or_default();
    if driver != "bridge" {
        return Some(format!(
            "a network of this name exists, with driver \"{driver}\" instead of \"bridge\"; \
             remove or rename it"
        ));
    }
    let subnets: Vec<&str> = found
        .ipam
        .iter()
        .flat_map(|ipam| ipam.config.iter().flatten())
        .filter_map(|config| config.subnet.as_deref())
        .collect();
    (!subnets.contains(&subnet)).then(|| {
        format!(
            "it exists with the subnet {}, but the node is configured for {subnet}; stop the \
             containers in it and remove it with `docker network rm`, or change the configuration",
            subnets.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = r#"{"Name":"flocker-8c5b2f31","Driver":"bridge","EnableIPv6":false,
        "IPAM":{"Driver":"default","Options":null,
                "Config":[{"Subnet":"10.9.0.0/24","Gateway":"10.9.0.1"}]},
        "Options":{"com.docker.network.bridge.name":"flk-8c5b2f31"}}"#;

    #[test]
    fn the_subnet_must_be_the_configured_one() {
        let found: NetworkInspect = serde_json::from_str(FOUND).unwrap();
        assert_eq!(network_mismatch(&found, "10.9.0.0/24"), None);
        let reason = network_mismatch(&found, "10.8.0.0/24").unwrap();
        assert!(reason.contains("10.9.0.0/24") && reason.contains("10.8.0.0/24"));
    }

    #[test]
    fn names_fit_the_kernel() {
        let cluster: ClusterId = "8c5b2f31-0000-4000-8000-000000000000".parse().unwrap();
        assert_eq!(network_name(cluster), "flocker-8c5b2f31");
        assert!(bridge_name(cluster).len() <= 15);
    }
}
