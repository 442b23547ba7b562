//! When a container that runs is ready: its health check passes; or, without one, its port accepts a
//! connection; or, without a port, it is still there after a moment.

use flocker_runtime::{ContainerRun, Health, Runtime};
use flocker_types::app::ServiceSpec;
use flocker_types::ids::ServiceId;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Between two attempts to connect. Short, because clients wait.
const CONNECT_INTERVAL: Duration = Duration::from_millis(5);
/// The same once the container has taken long anyway.
const CONNECT_INTERVAL_LATER: Duration = Duration::from_millis(100);
/// From when on.
const LATER: Duration = Duration::from_secs(5);
/// One attempt to connect.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// A container without ports is ready when it has lived this long.
const SURVIVAL: Duration = Duration::from_millis(500);

/// A port that only the image names may never be served: after this the container counts as ready.
const UNNAMED_LIMIT: Duration = Duration::from_secs(10);

/// Where to knock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    ports: Vec<u16>,
    limit: Option<Duration>,
}

impl Ports {
    /// The ports that the manifest names; where it names none, those that the image exposes.
    pub(crate) fn of(spec: &ServiceSpec, exposed: &[u16]) -> Self {
        let published = spec.ports.iter().map(|port| port.internal);
        let named: Vec<u16> = published.chain(spec.expose.iter().copied()).collect();
        if named.is_empty() {
            Self {
                ports: exposed.to_vec(),
                limit: Some(UNNAMED_LIMIT),
            }
        } else {
            Self {
                ports: named,
                limit: None,
            }
        }
    }
}

/// Waits for as long as it takes; the caller cancels. False when it will never be ready, or when its
/// health check will tell.
pub(crate) async fn wait(
    runtime: &dyn Runtime,
    service: &ServiceId,
    address: Ipv4Addr,
    ports: &Ports,
) -> bool {
    let began = Instant::now();
    match running(runtime, service).await {
        Some(Health::None) => {}
        Some(Health::Healthy) => return true,
        // The engine's events tell when that changes.
        Some(Health::Starting | Health::Unhealthy(_)) => return false,
        None => return false,
    }
    if ports.ports.is_empty() {
        sleep(SURVIVAL).await;
        return running(runtime, service).await.is_some();
    }
    loop {
        for port in &ports.ports {
            let attempt = TcpStream::connect((address, *port));
            if matches!(timeout(CONNECT_LIMIT, attempt).await, Ok(Ok(_))) {
                return true;
            }
        }
        if ports.limit.is_some_and(|limit| began.elapsed() >= limit) {
            return running(runtime, service).await.is_some();
        }
        let early = began.elapsed() < LATER;
        sleep(if early {
            CONNECT_INTERVAL
        } else {
            CONNECT_INTERVAL_LATER
        })
        .await;
    }
}

async fn running(runtime: &dyn Runtime, service: &ServiceId) -> Option<Health> {
    match runtime.inspect(service).await {
        Ok(Some(info)) => match info.run {
            ContainerRun::Running { health, .. } => Some(health),
            ContainerRun::Created | ContainerRun::AtGate | ContainerRun::Exited { .. } => None,
        },
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%service, %error, "cannot see whether it is ready");
            None
        }
    }
}
