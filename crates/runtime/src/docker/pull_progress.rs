//! Adds up what an image pull has received, from the engine's messages about single layers. Pure.

use bollard::models::CreateImageInfo;
use std::collections::HashMap;

/// Bytes received by one pull so far.
#[derive(Debug, Default)]
pub(super) struct PullProgress {
    bytes_by_layer: HashMap<String, u64>,
}

impl PullProgress {
    /// Takes in one message; the bytes received in all.
    pub(super) fn take(&mut self, message: &CreateImageInfo) -> u64 {
        let downloading = message.status.as_deref() == Some("Downloading");
        if let (true, Some(layer), Some(detail)) =
            (downloading, &message.id, &message.progress_detail)
            && let Some(current) = detail.current.and_then(|bytes| u64::try_from(bytes).ok())
        {
            // A layer that is fetched again after a broken connection starts from zero.
            let so_far = self.bytes_by_layer.entry(layer.clone()).or_default();
            *so_far = current.max(*so_far);
        }
        self.bytes_by_layer.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_added_up_and_extracting_does_not_count() {
        let mut progress = PullProgress::default();
        let mut received = 0;
        for line in [
            r#"{"status":"Pulling from library/redis","id":"7"}"#,
            r#"{"status":"Downloading","id":"aa","progressDetail":{"current":100,"total":900}}"#,
            r#"{"status":"Downloading","id":"bb","progressDetail":{"current":50,"total":60}}"#,
            r#"{"status":"Downloading","id":"aa","progressDetail":{"current":900,"total":900}}"#,
            r#"{"status":"Extracting","id":"aa","progressDetail":{"current":10,"total":900}}"#,
            r#"{"status":"Pull complete","id":"aa","progressDetail":{}}"#,
        ] {
            received = progress.take(&serde_json::from_str(line).unwrap());
        }
        assert_eq!(received, 950);
    }
}
