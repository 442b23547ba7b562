//! Why a command failed, in the form in which every command reports it: what is wrong, what caused it,
//! how to go on.
//!
//! Commands turn the errors of the other crates into it; `main` hands it to the output module. It is
//! never matched on: nothing in the command line depends on which failure it was.

use flocker_net::client::ClientError;
use flocker_testkit::sandbox::SandboxError;
use std::error::Error;

/// A command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told to the user.
    Told(Told),
    /// The command has said everything already (a report of a failed operation, diagnostics).
    Shown,
    /// Whoever read our output has gone away; nobody is left to be told.
    ReaderGone,
}

/// A failure in words.
#[derive(Debug)]
pub(crate) struct Told {
    /// What is wrong.
    pub(crate) message: String,
    /// Each cause of the one before it.
    pub(crate) causes: Vec<String>,
    /// How to go on.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure that no other error has caused.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Told(Told {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        })
    }

    /// An error of another crate, with its causes.
    pub(crate) fn of(error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self::Told(Told {
            message: error.to_string(),
            causes,
            hint: None,
        })
    }

    /// The same, as the cause of something that means more to the user.
    pub(crate) fn because(message: impl Into<String>, error: &dyn Error) -> Self {
        let mut causes = vec![error.to_string()];
        if let Self::Told(told) = Self::of(error) {
            causes.extend(told.causes);
        }
        Self::Told(Told {
            message: message.into(),
            causes,
            hint: None,
        })
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.hint = Some(hint.into());
        }
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Invalid { what, hint } => Self::new(what).hint(hint),
            other if other.can_retry() => Self::of(&other).hint("the same command may work now"),
            other => Self::of(&other),
        }
    }
}

/// Failures that carry no advice of their own.
macro_rules! plain_failure {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(&error)
            }
        })+
    };
}

plain_failure!(
    flocker_agent::AgentError,
    flocker_control::ControlError,
    flocker_control::InitError,
    flocker_net::pki::AuthorityError,
    flocker_net::pki::FileError,
    flocker_net::tls::CredentialsError,
    flocker_net::proxy::ProxyError,
);
