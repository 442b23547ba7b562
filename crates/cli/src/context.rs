//! Contexts: which cluster a user's commands go to, and the user's certificate for it.
//!
//! `init` writes one, every command that talks to control reads one. They are in
//! `$XDG_CONFIG_HOME/flocker`, else `~/.config/flocker`: `contexts/NAME/{config.toml, ca.pem, user.pem}`,
//! the key with the certificate, and `current` with the name of the one that is used when none is named.

use crate::failure::Failure;
use flocker_net::client::ApiClient;
use flocker_net::pki::{Issued, MemberCertificate, write_secret};
use flocker_net::tls::{CredentialFiles, Credentials};
use flocker_types::ids::ClusterId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Chooses the context when `--context` does not.
pub(crate) const CONTEXT_VARIABLE: &str = "FLOCKER_CONTEXT";

/// `config.toml` of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextConfig {
    /// Where control answers.
    pub(crate) control: SocketAddr,
    /// The cluster.
    pub(crate) cluster: ClusterId,
}

/// A context that was found, with a client for its cluster.
#[derive(Debug)]
pub(crate) struct Context {
    /// Its name.
    pub(crate) name: String,
    /// What its file says.
    pub(crate) config: ContextConfig,
    /// Talks to its control.
    pub(crate) client: ApiClient,
}

/// Whom files belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    user: u32,
    group: u32,
}

/// A user's contexts.
#[derive(Debug, Clone)]
pub(crate) struct Contexts {
    directory: PathBuf,
}

impl Contexts {
    /// Those of the user who calls.
    pub(crate) fn of_user() -> Result<Self, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let base = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
        match base {
            Some(base) => Ok(Self::in_directory(base.join("flocker"))),
            None => Err(Failure::new("there is no place for certificates of yours")
                .hint("set HOME or XDG_CONFIG_HOME")),
        }
    }

    /// Those of the user who has called through sudo, and who that is.
    pub(crate) fn of_user_behind_sudo() -> Option<(Self, Owner)> {
        let id = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let owner = Owner {
            user: id("SUDO_UID")?,
            group: id("SUDO_GID")?,
        };
        let root = rustix::process::geteuid().is_root();
        let user = nix::unistd::User::from_uid(owner.user.into()).ok()??;
        let there = root && owner.user != 0 && user.dir.is_dir();
        let contexts = Self::in_directory(user.dir.join(".config/flocker"));
        there.then_some((contexts, owner))
    }

    /// Copies a context of root's for the user behind sudo, and gives everything there to that user.
    pub(crate) fn share(&self, name: &str, behind: &Self, owner: Owner) -> Result<(), Failure> {
        if behind.directory != self.directory {
            behind.check_free(name)?;
            let place = behind.place(name);
            make_private(&place)?;
            for entry in fs::read_dir(self.place(name))
                .into_iter()
                .flatten()
                .flatten()
            {
                let text = flocker_net::pki::read_text(&entry.path())?;
                write_secret(&place.join(entry.file_name()), &text)?;
            }
            if behind.current().is_none() {
                behind.choose(name)?;
            }
        }
        behind.give_to(owner)
    }

    /// Gives everything to its user.
    fn give_to(&self, owner: Owner) -> Result<(), Failure> {
        let config = self.directory.parent().into_iter().map(Path::to_owned);
        let mut todo: Vec<PathBuf> = config.chain([self.directory.clone()]).collect();
        // `.config` itself may be new; what else is in it is none of our business.
        let mut inside = vec![self.directory.clone()];
        while let Some(directory) = inside.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    inside.push(entry.path());
                }
                todo.push(entry.path());
            }
        }
        for path in todo {
            std::os::unix::fs::lchown(&path, Some(owner.user), Some(owner.group)).map_err(
                |error| Failure::because(format!("cannot give {} away", path.display()), &error),
            )?;
        }
        Ok(())
    }

    fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.join("contexts").join(name)
    }

    fn current_file(&self) -> PathBuf {
        self.directory.join("current")
    }

    /// The name of the one that is used when none is named.
    pub(crate) fn current(&self) -> Option<String> {
        let text = fs::read_to_string(self.current_file()).ok()?;
        Some(text.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.join("contexts")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| check_name(name).is_ok() && self.config_file(name).exists())
            .collect();
        names.sort();
        names
    }

    fn config_file(&self, name: &str) -> PathBuf {
        self.place(name).join("config.toml")
    }

    /// The context that was asked for by option or environment, else the current one.
    pub(crate) fn open(&self, asked: Option<&str>) -> Result<Context, Failure> {
        let name = match asked {
            Some(name) => name.to_owned(),
            None => self.current().ok_or_else(|| self.no_context())?,
        };
        check_name(&name)?;
        let config = self.config(&name)?;
        let credentials = Credentials::load(&self.place(&name), CredentialFiles::USER)?;
        Ok(Context {
            client: ApiClient::new(config.control, credentials),
            config,
            name,
        })
    }

    /// What the file of a context says.
    pub(crate) fn config(&self, name: &str) -> Result<ContextConfig, Failure> {
        let path = self.config_file(name);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| {
                Failure::because(format!("{} cannot be used", path.display()), &error)
                    .hint("put it right, or make the context anew")
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let failure = Failure::new(format!("there is no context \"{name}\""));
                Err(match self.names().as_slice() {
                    [] => failure.hint("`flocker init` makes one, on the server of control"),
                    names => failure.hint(format!("choose one of: {}", names.join(", "))),
                })
            }
            Err(error) => Err(Failure::because(
                format!("cannot read {}", path.display()),
                &error,
            )),
        }
    }

    fn no_context(&self) -> Failure {
        match self.names().as_slice() {
            [] => Failure::new("no cluster is known to you").hint(format!(
                "run `flocker init` on the first server, or copy {} from who did",
                self.directory.display()
            )),
            names => Failure::new("no context is chosen").hint(format!(
                "name one by --context or {CONTEXT_VARIABLE}, or keep one by `flocker context use \
                 NAME`: {}",
                names.join(", ")
            )),
        }
    }

    /// Refuses a name that cannot be used, or is in use for another cluster.
    pub(crate) fn check_free(&self, name: &str) -> Result<(), Failure> {
        check_name(name)?;
        if self.place(name).exists() {
            return Err(
                Failure::new(format!("there is a context \"{name}\" already")).hint(format!(
                    "choose another name by --context, or remove it: rm -r {}",
                    self.place(name).display()
                )),
            );
        }
        Ok(())
    }

    /// Writes a context. It becomes the current one if there is none.
    pub(crate) fn save(
        &self,
        name: &str,
        config: &ContextConfig,
        issued: &Issued,
        authority_pem: &str,
    ) -> Result<(), Failure> {
        let place = self.place(name);
        make_private(&place)?;
        Credentials::save(&place, CredentialFiles::USER, issued, authority_pem)?;
        let text = toml::to_string(config)
            .map_err(|error| Failure::because("the context cannot be written", &error))?;
        write_secret(&self.config_file(name), &text)?;
        match self.current() {
            Some(_) => Ok(()),
            // Whoever makes another context at the same time may be first.
            None => self.choose(name).or_else(|failure| match self.current() {
                Some(_) => Ok(()),
                None => Err(failure),
            }),
        }
    }

    /// The user's own certificate in a context.
    pub(crate) fn certificate(&self, name: &str) -> Result<MemberCertificate, Failure> {
        check_name(name)?;
        self.config(name)?;
        let credentials = Credentials::load(&self.place(name), CredentialFiles::USER)?;
        Ok(credentials.certificate())
    }

    /// Puts a new certificate into the place of a context's old one.
    pub(crate) fn replace_certificate(
        &self,
        name: &str,
        issued: &Issued,
        authority_pem: &str,
    ) -> Result<(), Failure> {
        check_name(name)?;
        let files = CredentialFiles::USER;
        Ok(Credentials::save(
            &self.place(name),
            files,
            issued,
            authority_pem,
        )?)
    }

    /// Makes a context the current one.
    pub(crate) fn choose(&self, name: &str) -> Result<(), Failure> {
        check_name(name)?;
        self.config(name)?;
        Ok(write_secret(&self.current_file(), &format!("{name}\n"))?)
    }

    /// Removes a context; nothing happens when there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        check_name(name)?;
        let gone = |result: std::io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::because(
                format!("cannot remove {}", path.display()),
                &error,
            )),
            _ => Ok(()),
        };
        let place = self.place(name);
        gone(fs::remove_dir_all(&place), &place)?;
        if self.current().as_deref() == Some(name) {
            let file = self.current_file();
            gone(fs::remove_file(&file), &file)?;
        }
        Ok(())
    }
}

/// Removes a context of the user who calls; through sudo, that of root and that of the user.
pub(crate) fn forget(name: &str) -> Result<(), Failure> {
    Contexts::of_user()?.remove(name)?;
    match Contexts::of_user_behind_sudo() {
        Some((behind, _)) => behind.remove(name),
        None => Ok(()),
    }
}

/// Makes a directory that only its owner may look into.
pub(crate) fn make_private(directory: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Failure::because(format!("cannot make {}", directory.display()), &error))
}

/// A context's name is a directory's name.
fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(
            Failure::new(format!("\"{name}\" cannot be a context's name"))
                .hint("use letters, digits, '-', '_' and '.'"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_net::pki::{Authority, Identity, Role, USER_VALIDITY};

    fn hint_of(failure: Failure) -> String {
        match failure {
            Failure::Told(told) => told.hint.unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn save(contexts: &Contexts, name: &str) -> ContextConfig {
        let cluster = ClusterId(uuid::Uuid::new_v4());
        let authority = Authority::create(cluster).unwrap();
        let role = Role::User {
            name: "ann".to_owned(),
            role: flocker_types::access::UserRole::Viewer,
        };
        let issued = authority
            .issue(&Identity { cluster, role }, USER_VALIDITY)
            .unwrap();
        let config = ContextConfig {
            control: "192.0.2.1:4523".parse().unwrap(),
            cluster,
        };
        contexts
            .save(name, &config, &issued, authority.certificate_pem())
            .unwrap();
        config
    }

    #[test]
    fn the_first_context_is_current_until_another_is_chosen() {
        let home = tempfile::tempdir().unwrap();
        let contexts = Contexts::in_directory(home.path().join("flocker"));
        assert!(hint_of(contexts.open(None).unwrap_err()).contains("flocker init"));
        let one = save(&contexts, "one");
        let two = save(&contexts, "two");
        assert_eq!(contexts.open(None).unwrap().config, one);
        assert_eq!(contexts.open(Some("two")).unwrap().config, two);
        contexts.choose("two").unwrap();
        assert_eq!(contexts.open(None).unwrap().config, two);
        assert_eq!(
            hint_of(contexts.open(Some("three")).unwrap_err()),
            "choose one of: one, two"
        );
        contexts.remove("two").unwrap();
        contexts.remove("two").unwrap();
        let hint = hint_of(contexts.open(None).unwrap_err());
        assert!(hint.ends_with("flocker context use NAME`: one"), "{hint}");
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        let contexts = Contexts::in_directory(home.path().to_owned());
        for bad in ["", ".", "..", "a/b", "../x", "a b"] {
            assert!(contexts.open(Some(bad)).is_err(), "{bad}");
            assert!(contexts.remove(bad).is_err(), "{bad}");
        }
    }
}
