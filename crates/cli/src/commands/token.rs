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
  ssh server2 sudo flocker join 10.0.0.1 --token $(flocker token --valid 5m)
  flocker token --node n2      for `flocker join --again` on n2")]
pub(crate) struct Token {
    /// How long it shall be good, at most 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    valid: Duration,

    /// Only for a new certificate of this node, whose old one is lost, has expired or is revoked
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    #[command(flatten)]
    format: Format,
}

impl Token {
    /// Asks control for a token.
    pub(crate) async fn run(&self, global: &Global) -> Result<(), Failure> {
        let context = global.open()?;
        let valid_ms = u64::try_from(self.valid.as_millis()).unwrap_or(u64::MAX);
        let request = TokenRequest {
            valid_ms,
            node: self.node.clone(),
        };
        let response: TokenResponse = context.client.post("/v1/tokens", &request).await?;
        if self.format.json {
            return output::json(&response);
        }
        output::data(&response.token)?;
        output::hint(&format!(
            "within {}, on {}:\n  sudo flocker join {} --token {}{}",
            milliseconds(valid_ms),
            self.node.as_deref().unwrap_or("the server that is to join"),
            context.config.control,
            response.token,
            if self.node.is_some() { " --again" } else { "" },
        ));
        Ok(())
    }
}
