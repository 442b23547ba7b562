//! Texts that nobody may see who need not: values of environment variables that are marked secret.
//!
//! A value shows nothing of itself, whoever formats it. It is written out only where it has to arrive: from
//! the manifest to control, into control's store, to the agent and its files. Answers for people carry it
//! sealed (only the control that sealed it can read that) or not at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A text that is not to be seen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretText {
    /// The text itself.
    Plain(String),
    /// Encrypted by the control that gave it out, in a plan.
    Sealed(String),
    /// It is not told.
    Hidden,
}

impl SecretText {
    /// The text itself, for who has to use it.
    pub fn reveal(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Sealed(_) | Self::Hidden => None,
        }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ServiceSpec;

    #[test]
    fn nobody_sees_it_by_formatting_what_it_is_in() {
        let mut spec = ServiceSpec::of_image("redis:7");
        let secret = SecretText::Plain("hunter2".to_owned());
        assert_eq!(secret.reveal(), Some("hunter2"));
        assert_eq!(secret.to_string(), "***");
        spec.secret_environment.insert("KEY".to_owned(), secret);
        assert!(!format!("{spec:?}{spec:#?}").contains("hunter2"));
        spec.hide_secrets();
        assert_eq!(spec.secret_environment["KEY"], SecretText::Hidden);
    }
}
