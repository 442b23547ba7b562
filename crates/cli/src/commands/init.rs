//! `flocker init`: a new cluster, with this server as its first node.

use super::Global;
use crate::context::{ContextConfig, Contexts, make_private};
use crate::failure::Failure;
use crate::node_file::{NodeFile, STATE_DIR_DEFAULT, StateDir};
use crate::units::{self, Role, Started};
use crate::{output, server};
use clap::Args;
use flocker_control::{API_PORT_DEFAULT, InitError, InitRequest, initialise};
use flocker_core::cluster::Network;
use flocker_net::client::ApiClient;
use flocker_net::pki::{
    Authority, Identity, NODE_VALIDITY, Role as Member, USER_NAME_BYTES_MAX, USER_VALIDITY,
};
use flocker_net::tls::{CredentialFiles, Credentials};
use flocker_storage::PoolSpec;
use flocker_types::access::UserRole;
use flocker_types::api::{ClusterView, LinkView};
use flocker_types::ids::{ClusterId, NodeId, NodeName};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What a context is called when nothing else is said.
const CONTEXT_DEFAULT: &str = "default";
/// For so long the roles may take to connect after they were started.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at whether they have.
const READY_INTERVAL: Duration = Duration::from_millis(200);

/// Make a new cluster, with this server as its first node
///
/// Makes the cluster's authority, its state, this node's certificate and, for you, a context by which
/// your commands reach the cluster. Where systemd runs it starts control, agent and proxy, too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo flocker init
  sudo flocker init --address 10.0.0.1 --pool zfs:tank/flocker
  sudo flocker init --pool btrfs-image:/var/lib/flocker/pool.img,size=50G")]
pub(crate) struct Init {
    #[command(flatten)]
    node: NodeOptions,

    /// Addresses for services; nothing else may use them
    #[arg(long, value_name = "NETWORK", default_value = "10.214.0.0/16")]
    service_network: Network,

    /// Addresses for containers; nothing else may use them
    #[arg(long, value_name = "NETWORK", default_value = "10.213.0.0/16")]
    container_network: Network,
}

/// What `init` and `join` are told about the server.
#[derive(Debug, Args)]
pub(super) struct NodeOptions {
    /// What to call this node [default: the server's name]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<NodeName>,

    /// The address at which the other servers reach this one [default: that of the default route]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<Ipv4Addr>,

    /// Where the node keeps everything
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
    pub(super) state_dir: PathBuf,

    /// Docker's socket
    #[arg(long, value_name = "SOCKET", default_value = "unix:///var/run/docker.sock",
        value_parser = server::parse_socket)]
    pub(super) docker: PathBuf,

    /// Where to keep volumes: zfs:DATASET, btrfs:DIRECTORY, btrfs-image:FILE[,size=SIZE], or auto for
    /// the first of these that can be had
    #[arg(long, value_name = "POOL", default_value = "auto")]
    pub(super) pool: PoolSpec,

    /// The first of three ports: control, agent, proxy
    #[arg(long, value_name = "PORT", default_value_t = API_PORT_DEFAULT,
        value_parser = server::parse_first_port)]
    pub(super) port: u16,

    /// Start nothing; say how to
    #[arg(long)]
    pub(super) no_start: bool,
}

/// The server, found fit to become a node.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) state: StateDir,
    pub(super) name: NodeName,
    pub(super) address: Ipv4Addr,
}

impl NodeOptions {
    /// Looks at everything that could go wrong, before anything is changed.
    pub(super) fn check(&self, command: &str, roles: &[Role]) -> Result<Fit, Failure> {
        if !self.no_start {
            server::check_root(command)?;
        }
        let state_dir = std::path::absolute(&self.state_dir)
            .map_err(|error| Failure::because("the state directory cannot be found", &error))?;
        let state = StateDir::new(&state_dir);
        state.check_free()?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server::default_name()?,
        };
        let address = match self.address {
            Some(address) => address,
            None => {
                let address = server::default_address()?;
                output::note(&format!(
                    "this node's address is {address}, that of the default route; --address gives \
                     another one"
                ));
                address
            }
        };
        server::check_address(address)?;
        for role in roles {
            let port = match role {
                Role::Control => self.port,
                Role::Agent => self.port + 1,
                Role::Proxy => self.port + 2,
            };
            server::check_port(port, role.name())?;
        }
        if let Err(Failure::Told(told)) = server::check_engine(&self.docker) {
            output::warning(&told.message);
            told.hint.as_deref().into_iter().for_each(output::hint);
        }
        Ok(Fit {
            state,
            name,
            address,
        })
    }

    /// Starts the roles, or says how to.
    pub(super) fn start(&self, roles: &[Role], state: &StateDir) -> Result<Started, Failure> {
        if self.no_start || !units::systemd_runs() {
            units::tell_how_to_start(roles, state.path());
            return Ok(Started::NotYet);
        }
        units::start(roles, state.path())?;
        Ok(Started::BySystemd)
    }
}

impl Init {
    /// Makes the cluster.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let contexts = Contexts::of_user()?;
        let context = global.context.as_deref().unwrap_or(CONTEXT_DEFAULT);
        contexts.check_free(context)?;
        let fit = self.node.check("init", Role::WITH_CONTROL)?;
        let node = self.make(&fit, &contexts, context)?;
        output::note(&format!(
            "made cluster {} with node {} at {}",
            node.cluster, node.name, node.address
        ));
        output::note(&format!(
            "your commands reach it by the context \"{context}\""
        ));
        match self.node.start(Role::WITH_CONTROL, &fit.state)? {
            Started::NotYet => {}
            Started::BySystemd => {
                await_ready(&contexts.open(Some(context))?.client).await?;
                output::note("control, agent and proxy are connected");
            }
        }
        output::hint("`flocker token` lets another server join");
        Ok(())
    }

    fn make(&self, fit: &Fit, contexts: &Contexts, context: &str) -> Result<NodeFile, Failure> {
        make_private(fit.state.path())?;
        let control = SocketAddr::from((fit.address, self.node.port));
        let node = NodeFile {
            cluster: ClusterId(Uuid::new_v4()),
            node: NodeId(Uuid::new_v4()),
            name: fit.name.clone(),
            address: fit.address,
            port: self.node.port,
            control,
            has_control: true,
            pool: self.node.pool.clone(),
            docker: self.node.docker.clone(),
            service_network: self.service_network,
            container_network: self.container_network,
            certificate_validity: None,
        };
        let request = InitRequest {
            cluster: node.cluster,
            node: node.node,
            node_name: node.name.clone(),
            address: node.address,
            service_network: node.service_network,
            container_network: node.container_network,
        };
        let authority = initialise(&fit.state.control(), &request).map_err(explain)?;
        issue_node(&authority, &fit.state, &node)?;
        let config = ContextConfig {
            control,
            cluster: node.cluster,
        };
        let identity = Identity {
            cluster: node.cluster,
            role: Member::User {
                name: user_name(),
                role: UserRole::Admin,
            },
        };
        let issued = authority.issue(&identity, USER_VALIDITY)?;
        let authority_pem = authority.certificate_pem();
        contexts.save(context, &config, &issued, authority_pem)?;
        if let Some((behind, owner)) = Contexts::of_user_behind_sudo() {
            // The cluster is made; a home that cannot be written shall not undo it.
            let saved = contexts.share(context, &behind, owner);
            if let Err(Failure::Told(told)) = saved {
                output::warning(&format!(
                    "only root can reach the cluster: {}",
                    told.message
                ));
            }
        }
        fit.state.save(&node)?;
        Ok(node)
    }
}

fn issue_node(authority: &Authority, state: &StateDir, node: &NodeFile) -> Result<(), Failure> {
    let identity = Identity {
        cluster: node.cluster,
        role: Member::Node(node.node),
    };
    let issued = authority.issue(&identity, NODE_VALIDITY)?;
    let directory = state.certificates();
    make_private(&directory)?;
    let authority_pem = authority.certificate_pem();
    Credentials::save(&directory, CredentialFiles::NODE, &issued, authority_pem)?;
    Ok(())
}

fn explain(error: InitError) -> Failure {
    match error {
        error @ InitError::Overlap { .. } => {
            Failure::of(&error).hint("choose others by --service-network and --container-network")
        }
        error => error.into(),
    }
}

/// Who the user's certificate speaks for: whoever called, also through sudo.
fn user_name() -> String {
    let set = |name| std::env::var(name).ok();
    let name = set("SUDO_USER")
        .or_else(|| set("USER"))
        .or_else(|| set("LOGNAME"));
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-');
    let name: String = name.unwrap_or_default().chars().filter(allowed).collect();
    match name.is_empty() {
        true => "admin".to_owned(),
        false => name.chars().take(USER_NAME_BYTES_MAX).collect(),
    }
}

/// Waits until every node's agent and proxy are connected.
async fn await_ready(client: &ApiClient) -> Result<(), Failure> {
    let deadline = Instant::now() + READY_LIMIT;
    let is_up = |link| matches!(link, LinkView::Connected(_));
    loop {
        let last = match client.get::<ClusterView>("/v1/status").await {
            Ok(view) => {
                let waiting: Vec<&str> = view
                    .nodes
                    .iter()
                    .flat_map(|node| {
                        let agent = (!is_up(node.agent)).then_some("the agent");
                        agent
                            .into_iter()
                            .chain((!is_up(node.proxy)).then_some("the proxy"))
                    })
                    .collect();
                if waiting.is_empty() {
                    return Ok(());
                }
                format!("{} did not connect", waiting.join(" and "))
            }
            Err(error) if error.retry_can_help() => format!("control does not answer: {error}"),
            Err(error) => return Err(error.into()),
        };
        if Instant::now() > deadline {
            return Err(Failure::new(format!(
                "the node is made, but within {} s {last}",
                READY_LIMIT.as_secs()
            ))
            .hint("see why: journalctl -u flocker-control -u flocker-agent -u flocker-proxy"));
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}
