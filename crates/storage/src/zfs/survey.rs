//! What can be said of a dataset without changing it.

use super::datasets;
use crate::survey::PoolProblem;
use flocker_types::volume::PoolUsage;

/// Room in the dataset, and what keeps it from being used.
pub(crate) async fn survey(dataset: &str) -> (Option<PoolUsage>, Vec<PoolProblem>) {
    let pool = dataset.split('/').next().unwrap_or(dataset);
    let health = ["list", "-H", "-o", "health", pool];
    let mut problems = match crate::command::run("zpool", &health).await {
        Ok(health) => unhealthy(pool, health.trim()).into_iter().collect(),
        Err(error) => {
            let what = format!("the pool {pool} cannot be used: {error}");
            let how = format!("`zpool list` shows which there are; zpool import {pool}");
            return (None, vec![PoolProblem::new(what, how)]);
        }
    };
    match usage(dataset, pool).await {
        Ok(usage) => (Some(usage), problems),
        Err(error) => {
            let what = format!("the room in {dataset} is not known: {error}");
            problems.push(PoolProblem::new(what, "zfs list -o space"));
            (None, problems)
        }
    }
}

/// Room in the dataset; where it will be made, room in its pool.
async fn usage(
    dataset: &str,
    pool: &str,
) -> Result<PoolUsage, crate::volume_store::StorageErrorKind> {
    let place = match datasets::exists(dataset).await? {
        true => dataset,
        false => pool,
    };
    let free_bytes = datasets::bytes_property(place, "available").await?;
    let used_bytes = datasets::bytes_property(place, "used").await?;
    Ok(PoolUsage {
        size_bytes: free_bytes.saturating_add(used_bytes),
        free_bytes,
    })
}

fn unhealthy(pool: &str, health: &str) -> Option<PoolProblem> {
    let what = match health {
        "ONLINE" => return None,
        "DEGRADED" => "works, and one more lost disk may be too many (DEGRADED)".to_owned(),
        other => format!("does not work ({other})"),
    };
    let how = format!("zpool status -v {pool}");
    Some(PoolProblem::new(format!("the pool {pool} {what}"), how))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_told_apart() {
        assert_eq!(unhealthy("tank", "ONLINE"), None);
        let degraded = unhealthy("tank", "DEGRADED").unwrap();
        assert!(
            degraded.message.contains("one more lost disk"),
            "{degraded:?}"
        );
        let faulted = unhealthy("tank", "FAULTED").unwrap();
        assert_eq!(faulted.message, "the pool tank does not work (FAULTED)");
        assert_eq!(faulted.hint, "zpool status -v tank");
    }
}
