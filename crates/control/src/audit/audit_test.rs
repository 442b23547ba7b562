//! The log keeps what was asked through crashes and full files, and says it again.

use super::*;
use flocker_types::time::UnixMs;
use std::io::Write;
use std::net::Ipv4Addr;

fn asked(who: &str, request: &str) -> Asked {
    Asked {
        who: who.to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request: request.to_owned(),
    }
}

fn all() -> AuditQuery {
    AuditQuery {
        limit: 10_000,
        ..AuditQuery::default()
    }
}

async fn done(log: &AuditLog, who: &str, subject: &str) {
    let entry = log.begin(asked(who, "POST /v1/deploy")).await.unwrap();
    let ended = Ended {
        subject: Some(subject.to_owned()),
        answer: AuditAnswer::Allowed,
        reason: None,
    };
    log.end(entry, ended).await.unwrap();
}

#[tokio::test]
async fn a_request_is_there_before_its_answer_and_once_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path()).unwrap();
    done(&log, "user ann (admin)", "deploy db").await;
    // Control dies before there is an answer.
    let begun = log.begin(asked("user bob (operator)", "POST /v1/deploy"));
    drop(begun.await.unwrap());
    let refused = asked("user eve (viewer)", "POST /v1/deploy");
    log.refused(refused, Client::Member, "needs operator")
        .await
        .unwrap();
    drop(log);
    // Control died in the middle of a line.
    let path = directory.path().join("audit-00000000000000000001.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"{\"sequence\":9").unwrap();
    let log = AuditLog::open(directory.path()).unwrap();
    done(&log, "user ann (admin)", "move db").await;
    let view = log.query(all()).await.unwrap();
    let told: Vec<_> = view
        .records
        .iter()
        .map(|record| (record.sequence, record.who.as_str(), record.answer))
        .collect();
    assert_eq!(
        told,
        [
            (1, "user ann (admin)", AuditAnswer::Allowed),
            (2, "user bob (operator)", AuditAnswer::Begun),
            (3, "user eve (viewer)", AuditAnswer::Refused),
            (4, "user ann (admin)", AuditAnswer::Allowed),
        ]
    );
    assert_eq!(view.records[0].subject.as_deref(), Some("deploy db"));
    assert_eq!(view.records[2].reason.as_deref(), Some("needs operator"));
    assert_eq!(view.oldest, Some(view.records[0].at));
    let of_ann = AuditQuery {
        who: Some("ann".to_owned()),
        limit: 1,
        ..AuditQuery::default()
    };
    let of_ann = log.query(of_ann).await.unwrap().records;
    assert_eq!(of_ann.len(), 1);
    assert_eq!(of_ann[0].sequence, 4, "the newest");
    let later = AuditQuery {
        since: Some(UnixMs(u64::MAX)),
        ..all()
    };
    assert!(log.query(later).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn full_files_are_followed_by_new_ones_and_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        file_bytes_max: 2_000,
        files_max: 3,
    };
    let log = AuditLog::open_with(directory.path(), limits).unwrap();
    for number in 1..=100 {
        done(&log, "user ann (admin)", &format!("deploy {number}")).await;
    }
    let mut bytes = 0;
    let mut files = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let length = entry.unwrap().metadata().unwrap().len();
        assert!(length <= 2_000);
        (bytes, files) = (bytes + length, files + 1);
    }
    assert_eq!(files, 3);
    assert!(bytes > 3_000, "{bytes}");
    let records = log.query(all()).await.unwrap().records;
    assert_eq!(records.last().unwrap().sequence, 100);
    let complete = |record: &&AuditRecord| record.answer == AuditAnswer::Allowed;
    assert_eq!(records.iter().filter(complete).count(), records.len());
    let reopened = AuditLog::open_with(directory.path(), limits).unwrap();
    done(&reopened, "user ann (admin)", "deploy again").await;
    let last = reopened.query(all()).await.unwrap().records.pop().unwrap();
    assert_eq!(last.sequence, 101);
}

#[tokio::test]
async fn strangers_cannot_push_everything_else_out() {
    let directory = tempfile::tempdir().unwrap();
    let log = AuditLog::open(directory.path()).unwrap();
    let long = format!("GET /{}", "x".repeat(100_000));
    for _ in 0..STRANGERS_MAX + 40 {
        let stranger = asked("nobody", &long);
        let told = log.refused(stranger, Client::Stranger, "no certificate");
        told.await.unwrap();
    }
    let eve = asked("user eve (viewer)", "POST /v1/deploy");
    log.refused(eve, Client::Member, "no").await.unwrap();
    let records = log.query(all()).await.unwrap().records;
    assert_eq!(records.len(), usize::try_from(STRANGERS_MAX).unwrap() + 1);
    assert_eq!(records.last().unwrap().unwritten, 40);
    assert!(records[0].request.len() <= TEXT_BYTES_MAX + 3);
}
