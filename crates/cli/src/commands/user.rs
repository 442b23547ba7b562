//! `flocker user`: who may talk to the cluster, and as what.

use super::{Format, Global};
use crate::bundle::{self, Bundle};
use crate::context::{ContextConfig, Contexts};
use crate::failure::Failure;
use crate::node_file::{STATE_DIR_DEFAULT, StateDir};
use crate::output::{self, Answer, Style, access};
use crate::quantity::moment;
use clap::{Args, Subcommand};
use flocker_control::{Authorities, StateDirectory};
use flocker_net::pki::{Identity, Issued, MemberCertificate, Role, USER_VALIDITY, key_and_request};
use flocker_types::access::{
    AddUserRequest, CertificateResponse, RenewRequest, RevokeRequest, UserRecord, UserRole,
};
use std::path::{Path, PathBuf};

/// Let users in, list them, shut them out
///
/// A viewer may look at everything. An operator may also deploy, move and remove services. An admin may
/// also delete volumes, let servers and users in and out, and read the audit log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker user add ann --role operator      writes ann.flocker, for `flocker context import`
  flocker user ls
  flocker user revoke ann
  flocker user renew")]
pub(crate) struct User {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Let a user in: makes a key and a certificate, in one file for that user
    #[command(after_help = "Examples:
  flocker user add ann --role operator
  flocker user add monitoring --role viewer --out /etc/monitoring/flocker
  sudo flocker user add me --role admin --local   when no admin can: on control's server, as root")]
    Add {
        /// The name: letters, digits, '_', '.', '@' and '-'
        name: String,

        /// What the user may do: viewer, operator or admin
        #[arg(long, value_name = "ROLE")]
        role: UserRole,

        /// Where to write the file [default: NAME.flocker]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,

        /// Sign it here with the authority's key, without control
        #[arg(long)]
        local: bool,

        /// With --local: where the node keeps everything
        #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR_DEFAULT)]
        state_dir: PathBuf,
    },
    /// List users, with their roles and until when their certificates are good
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  flocker user ls --json"
    )]
    Ls(Format),
    /// Shut a user out at once: every certificate of that name so far is worth nothing from now on
    #[command(after_help = "Examples:
  flocker user revoke ann
  flocker user revoke --serial 6a0c...    one certificate only, by its number")]
    Revoke {
        /// The user's name
        #[arg(required_unless_present = "serial", conflicts_with = "serial")]
        name: Option<String>,

        /// The number of one certificate
        #[arg(long, value_name = "SERIAL")]
        serial: Option<String>,

        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Replace your own certificate by a new one, with a new key
    #[command(
        after_help = "Examples:\n  flocker user renew\n  flocker user renew --context production"
    )]
    Renew,
}

impl User {
    /// Does it.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        match &self.command {
            Action::Add {
                name,
                role,
                out,
                local,
                state_dir,
            } => {
                let out = out
                    .clone()
                    .unwrap_or_else(|| PathBuf::from(format!("{name}.flocker")));
                bundle::check_free(&out)?;
                let bundle = match local {
                    true => sign_here(name, *role, state_dir)?,
                    false => ask_control(global, name, *role).await?,
                };
                save(&bundle, &out, name, *role)
            }
            Action::Ls(format) => list(global, *format).await,
            Action::Revoke { name, serial, yes } => {
                let request = match (name, serial) {
                    (_, Some(serial)) => RevokeRequest::Serial(serial.to_ascii_lowercase()),
                    (Some(name), None) => RevokeRequest::User(name.clone()),
                    (None, None) => return Err(Failure::new("nobody is named")),
                };
                let whom = match &request {
                    RevokeRequest::Serial(serial) => format!("certificate {serial}"),
                    RevokeRequest::User(name) | RevokeRequest::Node(name) => format!("user {name}"),
                };
                revoke(global, &request, &whom, *yes).await
            }
            Action::Renew => renew(global).await,
        }
    }
}

async fn ask_control(global: &Global, name: &str, role: UserRole) -> Result<Bundle, Failure> {
    let context = global.open()?;
    let key = key_and_request()?;
    let request = AddUserRequest {
        name: name.to_owned(),
        role,
        certificate_request: key.request_pem,
    };
    let response: CertificateResponse = context.client.post("/v1/users", &request).await?;
    let issued = Issued {
        certificate_pem: response.certificate,
        key_pem: key.key_pem,
    };
    Ok(Bundle::new(&context.config, issued, response.authority))
}

/// For when no admin can: root on control's server has the authority's key anyway.
fn sign_here(name: &str, role: UserRole, state_dir: &Path) -> Result<Bundle, Failure> {
    let state = StateDir::new(state_dir);
    let node = state.load()?;
    let files = StateDirectory::new(&state.control());
    let authorities = Authorities::load(&files).map_err(|error| {
        Failure::of(&error).hint("run it as root, on the server where control runs")
    })?;
    let role = Role::User {
        name: name.to_owned(),
        role,
    };
    let authority = authorities.signer(&role);
    let identity = Identity {
        cluster: authority.cluster(),
        role,
    };
    let issued = authority.issue(&identity, USER_VALIDITY)?;
    let config = ContextConfig {
        control: node.control,
        cluster: node.cluster,
    };
    Ok(Bundle::new(&config, issued, authorities.trusted_pem()))
}

fn save(bundle: &Bundle, out: &Path, name: &str, role: UserRole) -> Result<(), Failure> {
    bundle.save(out)?;
    output::note(&format!("{name} may come in as {role}"));
    output::hint(&format!(
        "hand {} over in secret; whoever has it is {name}. There:\n  flocker context import {}",
        out.display(),
        out.display()
    ));
    Ok(())
}

async fn list(global: &Global, format: Format) -> Result<(), Failure> {
    let users: Vec<UserRecord> = global.open()?.client.get("/v1/users").await?;
    if format.json {
        return output::json(&users);
    }
    output::data(&access::users(&users, Style::of_stdout()))
}

/// Asks, then revokes.
pub(super) async fn revoke(
    global: &Global,
    request: &RevokeRequest,
    whom: &str,
    yes: bool,
) -> Result<(), Failure> {
    let context = global.open()?;
    if !yes {
        let question = format!("Revoke every certificate of {whom} so far, for ever?");
        match output::confirm(&question) {
            Some(Answer::Yes) => {}
            Some(Answer::No) => {
                output::note("nothing was changed");
                return Err(Failure::Shown);
            }
            None => {
                return Err(Failure::new(
                    "revoking needs a yes, and there is no terminal to ask at",
                )
                .hint("say --yes if it is meant"));
            }
        }
    }
    let () = context.client.post("/v1/revocations", request).await?;
    output::note(&format!("{whom}: revoked"));
    Ok(())
}

async fn renew(global: &Global) -> Result<(), Failure> {
    let contexts = Contexts::of_user()?;
    let context = contexts.open(global.asked().as_deref())?;
    let key = key_and_request()?;
    let request = RenewRequest {
        certificate_request: key.request_pem,
    };
    let path = "/v1/certificates/renew";
    let response: CertificateResponse = context.client.post(path, &request).await?;
    let issued = Issued {
        certificate_pem: response.certificate,
        key_pem: key.key_pem,
    };
    contexts.replace_certificate(&context.name, &issued, &response.authority)?;
    let until = MemberCertificate::from_pem(&issued.certificate_pem)
        .map(|certificate| moment(certificate.expires))
        .unwrap_or_default();
    output::note(&format!("your new certificate is good until {until}"));
    Ok(())
}
