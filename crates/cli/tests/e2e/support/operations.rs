//! Giving orders to a cluster's control, and following what comes of them.

use super::manifests::{self, File};
use super::{Cluster, LIMIT};
use flocker_net::client::ClientError;
use flocker_testkit::wait::{self, WaitError};
use flocker_types::api::{DeployRequest, MoveRequest, OperationView, ServiceView, Started};
use flocker_types::ids::{OperationId, ServiceId};
use flocker_types::operation::{OperationStatus, Phase};
use flocker_types::plan::Plan;
use std::time::{Duration, Instant};

/// Between two looks at an operation whose phase matters.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Cluster {
    /// What a deployment of these files would do.
    pub(crate) async fn plan(&self, files: &[File]) -> Result<Plan, ClientError> {
        self.api.post("/v1/plan", &manifests::request(files)).await
    }

    /// Begins a deployment.
    pub(crate) async fn start_deploy(&self, files: &[File]) -> Vec<OperationId> {
        let plan = self.plan(files).await.unwrap();
        let request = DeployRequest { plan };
        let started: Started = self.api.post("/v1/deploy", &request).await.unwrap();
        started.operations
    }

    /// Deploys, and waits until all of it has succeeded.
    pub(crate) async fn deploy(&self, files: &[File]) -> Vec<OperationView> {
        let mut views = Vec::new();
        for id in self.start_deploy(files).await {
            views.push(self.wait_success(id).await);
        }
        views
    }

    /// Begins a move.
    pub(crate) async fn start_move(&self, service: &str, node: &str) -> OperationId {
        let request = MoveRequest {
            service: service.parse().unwrap(),
            node: node.to_owned(),
        };
        let started: Result<Started, _> = self.api.post("/v1/services/move", &request).await;
        let started = started.unwrap_or_else(|error| panic!("move {service} to {node}: {error}"));
        assert_eq!(started.operations.len(), 1, "a move is one operation");
        started.operations[0]
    }

    /// Moves, and waits until it has succeeded.
    pub(crate) async fn move_to(&self, service: &str, node: &str) -> OperationView {
        let id = self.start_move(service, node).await;
        self.wait_success(id).await
    }

    /// An operation as it is now; none when control does not answer.
    pub(crate) async fn operation(&self, id: OperationId) -> Option<OperationView> {
        self.api.get(&format!("/v1/operations/{id}")).await.ok()
    }

    /// Waits until an operation has ended.
    pub(crate) async fn wait_operation(&self, id: OperationId, limit: Duration) -> OperationView {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.operation(id).await;
            let is_over = |view: &OperationView| view.operation.finished.is_some();
            if let Some(view) = seen.clone().filter(is_over) {
                return view;
            }
            assert!(
                Instant::now() < deadline,
                "not over after {limit:?}: {seen:#?}"
            );
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }

    /// Waits until an operation has succeeded.
    pub(crate) async fn wait_success(&self, id: OperationId) -> OperationView {
        let view = self.wait_operation(id, LIMIT).await;
        let status = &view.operation.status;
        assert_eq!(*status, OperationStatus::Succeeded, "{:#?}", view.operation);
        view
    }

    /// Waits until an operation has come to a phase, and returns the one that was seen: a later one
    /// when this one was too short.
    pub(crate) async fn wait_phase(&self, id: OperationId, phase: Phase) -> Phase {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(view) = self.operation(id).await {
                let operation = view.operation;
                if operation.phase >= phase || operation.finished.is_some() {
                    return operation.phase;
                }
            }
            assert!(Instant::now() < deadline, "phase {phase} never came");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A service as control shows it.
    pub(crate) async fn service(&self, service: &str) -> Option<ServiceView> {
        let id: ServiceId = service.parse().unwrap();
        let view = self.view().await;
        view.services.into_iter().find(|service| service.id == id)
    }

    /// Waits until control shows a service so.
    pub(crate) async fn wait_service(
        &self,
        what: &str,
        service: &str,
        is_so: impl Fn(&ServiceView) -> bool,
    ) -> ServiceView {
        let is_so = &is_so;
        wait::until::<_, WaitError, _, _>(what, LIMIT, || async move {
            Ok(self.service(service).await.filter(is_so))
        })
        .await
        .unwrap()
    }
}
