//! `flocker token`.

use super::{Format, Global};
use crate::failure::Failure;
use crate::output;
use crate::quantity::{milliseconds, parse_duration};
use clap::Args;
use flocker_types::api::{TokenRequest, TokenResponse};
use std::time::Duration;

/// Make a token with which one server may join the cluster
///
/// Prints the token and nothing else on standard output. It can be used once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  flocker token
  ssh server2 sudo flocker join 10.0.0.1 --token $(flocker token --valid 5m)")]
pub(crate) struct Token {
    /// How long it shall be good, at most 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    valid: Duration,

    #[command(flatten)]
    format: Format,
}

impl Token {
    /// Asks control for a token.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let context = global.open()?;
        let valid_ms = u64::try_from(self.valid.as_millis()).unwrap_or(u64::MAX);
        let request = TokenRequest { valid_ms };
        let response: TokenResponse = context.client.post("/v1/tokens", &request).await?;
        if self.format.json {
            return output::json(&response);
        }
        output::data(&response.token)?;
        output::hint(&format!(
            "within {}, on the server that is to join:\n  sudo flocker join {} --token {}",
            milliseconds(valid_ms),
            context.config.control,
            response.token
        ));
        Ok(())
    }
}
