//! A control process in this process, with its own directory and port.

use flocker_control::{
    Bound, ControlConfig, ControlError, InitRequest, StateDirectory, initialise,
};
use flocker_net::client::{ApiClient, ClientError};
use flocker_net::pki::{Authority, Identity, JoinToken, NODE_VALIDITY, Role, key_and_request};
use flocker_net::tls::Credentials;
use flocker_store::{RedbStore, StateStore};
use flocker_types::access::UserRole;
use flocker_types::api::{
    ApiError, ClusterView, JoinRequest, JoinResponse, TokenRequest, TokenResponse,
};
use flocker_types::ids::{ClusterId, NodeId, NodeName};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Longer than anything here takes, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A cluster with control and its first node.
pub(crate) struct Cluster {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) id: ClusterId,
    pub(crate) first: NodeId,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), ControlError>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn init_request() -> InitRequest {
    InitRequest {
        cluster: ClusterId(Uuid::new_v4()),
        node: NodeId(Uuid::new_v4()),
        node_name: NodeName::new("n1").unwrap(),
        address: Ipv4Addr::LOCALHOST,
        service_network: "10.213.0.0/16".parse().unwrap(),
        container_network: "10.214.0.0/16".parse().unwrap(),
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|store| Box::new(store)).await
    }

    /// With something round the store.
    pub(crate) async fn start_with(wrap: impl FnOnce(RedbStore) -> Box<dyn StateStore>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), wrap).await
    }

    /// In this directory.
    pub(crate) async fn start_in(
        directory: tempfile::TempDir,
        wrap: impl FnOnce(RedbStore) -> Box<dyn StateStore>,
    ) -> Self {
        let request = init_request();
        let authority = initialise(directory.path(), &request).unwrap();
        let (address, shutdown, running) = run(&directory, request.node, wrap).await;
        Self {
            directory,
            authority,
            address,
            id: request.cluster,
            first: request.node,
            shutdown,
            running,
        }
    }

    /// Stops control and starts it on the same files.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops control.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        (&mut self.running).await.unwrap().unwrap();
    }

    /// Control does not start on these files; what it says, with every cause.
    pub(crate) async fn fails_to_start(&self) -> String {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = ControlConfig::new(listen, self.directory.path().to_owned(), self.first);
        let Err(error) = Bound::open(config).await else {
            panic!("it starts");
        };
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }

    /// Starts control, which has ended, on the same files.
    pub(crate) async fn start_again(&mut self) {
        (self.address, self.shutdown, self.running) =
            run(&self.directory, self.first, |store| Box::new(store)).await;
    }

    pub(crate) fn credentials(&self, role: Role) -> Credentials {
        let identity = Identity {
            cluster: self.id,
            role,
        };
        let issued = self.authority.issue(&identity, NODE_VALIDITY).unwrap();
        let authority = self.authority.certificate_pem();
        Credentials::from_pem(&issued.certificate_pem, &issued.key_pem, authority).unwrap()
    }

    pub(crate) fn node_credentials(&self, node: NodeId) -> Credentials {
        self.credentials(Role::Node(node))
    }

    pub(crate) fn user_credentials(&self) -> Credentials {
        self.user("ops", UserRole::Admin)
    }

    pub(crate) fn user(&self, name: &str, role: UserRole) -> Credentials {
        let name = name.to_owned();
        self.credentials(Role::User { name, role })
    }

    pub(crate) fn client(&self) -> ApiClient {
        ApiClient::new(self.address, self.user_credentials())
    }

    pub(crate) async fn token(&self, valid_ms: u64) -> (JoinToken, TokenResponse) {
        let request = TokenRequest {
            valid_ms,
            node: None,
        };
        let response: TokenResponse = self.client().post("/v1/tokens", &request).await.unwrap();
        (response.token.parse().unwrap(), response)
    }

    pub(crate) async fn join(
        &self,
        token: &JoinToken,
        name: &str,
        last: u8,
    ) -> Result<JoinResponse, ClientError> {
        let request = join_request(token, name, last);
        ApiClient::pinned(self.address, token.authority)
            .post("/v1/join", &request)
            .await
    }

    pub(crate) async fn status(&self) -> ClusterView {
        self.client().get("/v1/status").await.unwrap()
    }

    /// The status, once it is as wanted.
    pub(crate) async fn status_when(&self, wanted: impl Fn(&ClusterView) -> bool) -> ClusterView {
        let client = self.client();
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            let view: ClusterView = client.get("/v1/status").await.unwrap();
            if wanted(&view) {
                return view;
            }
            assert!(tokio::time::Instant::now() < until, "{view:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn run(
    directory: &tempfile::TempDir,
    node: NodeId,
    wrap: impl FnOnce(RedbStore) -> Box<dyn StateStore>,
) -> (
    SocketAddr,
    CancellationToken,
    JoinHandle<Result<(), ControlError>>,
) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = ControlConfig::new(listen, directory.path().to_owned(), node);
    let path = StateDirectory::new(directory.path()).store();
    let store = wrap(RedbStore::open(&path).unwrap());
    let bound = Bound::open_with(config, store).await.unwrap();
    let (address, shutdown) = (bound.address(), CancellationToken::new());
    (address, shutdown.clone(), tokio::spawn(bound.run(shutdown)))
}

pub(crate) fn join_request(token: &JoinToken, name: &str, last: u8) -> JoinRequest {
    JoinRequest {
        token: token.proof().to_string(),
        name: NodeName::new(name).unwrap(),
        address: Ipv4Addr::new(192, 0, 2, last),
        certificate_request: key_and_request().unwrap().request_pem,
    }
}

/// The refusal in an error, with its status.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (u16, ApiError) {
    match result {
        Err(ClientError::Refused { status, refusal }) => (status.as_u16(), refusal),
        other => panic!("a refusal was expected: {other:?}"),
    }
}
