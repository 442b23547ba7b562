//! Users, the audit log and the ends of certificates as text. Pure.

use super::Style;
use super::table::Table;
use crate::quantity::moment;
use flocker_types::access::{
    AuditAnswer, AuditView, CertificateView, RotationPhase, RotationView, UserRecord,
};
use flocker_types::time::UnixMs;

/// The users.
pub(crate) fn users(users: &[UserRecord], style: Style) -> String {
    let mut table = Table::new(&["NAME", "ROLE", "CERTIFICATE", "ADDED BY", "SERIAL"]);
    for user in users {
        let certificate = match user.revoked {
            Some(at) => style.bad(&format!("revoked {}", moment(at))),
            None => format!("until {}", moment(user.expires)),
        };
        table.row(vec![
            user.name.clone(),
            user.role.to_string(),
            certificate,
            user.added_by.clone(),
            user.serial.clone(),
        ]);
    }
    table.render(style)
}

/// The audit log.
pub(crate) fn audit(view: &AuditView, style: Style) -> String {
    let mut table = Table::new(&["TIME", "WHO", "FROM", "ANSWER", "WHAT"]);
    for record in &view.records {
        let answer = record.answer.to_string();
        table.row(vec![
            moment(record.at),
            record.who.clone(),
            record.address.to_string(),
            match record.answer {
                AuditAnswer::Allowed => style.good(&answer),
                AuditAnswer::Begun => style.notable(&answer),
                AuditAnswer::Refused | AuditAnswer::Failed => style.bad(&answer),
            },
            match &record.subject {
                Some(subject) => subject.clone(),
                None => record.request.clone(),
            },
        ]);
        if let Some(reason) = &record.reason {
            table.remark(format!("{} {reason}", style.bad("!")));
        }
        if record.unwritten > 0 {
            table.remark(format!(
                "{} before it {} refusals of clients without a certificate are not in the log",
                style.notable("!"),
                record.unwritten
            ));
        }
    }
    let mut text = table.render(style);
    if let Some(oldest) = view.oldest {
        let words = format!("the log begins at {}\n", moment(oldest));
        text.push_str(&style.faint(&words));
    }
    text
}

/// How far a change of the authority is, who is waited for, and what they have to do.
pub(crate) fn rotation(rotation: &RotationView, now: UnixMs) -> String {
    let mut text = match rotation.phase {
        RotationPhase::Introducing => {
            "a new one is being introduced: nodes learn to trust it beside the old one\n"
        }
        RotationPhase::Issuing => "a new one is in use: nodes and users take its certificates\n",
        RotationPhase::Dropping => "the old one is dropped: nodes are told to trust it no more\n",
    }
    .to_owned();
    if !rotation.nodes.is_empty() {
        let nodes = rotation.nodes.join(", ");
        text.push_str(&format!(
            "waiting for {nodes}: they renew by themselves once they are connected; one that will not \
             come back: flocker node revoke NAME\n"
        ));
    }
    if !rotation.users.is_empty() {
        let users = rotation.users.join(", ");
        text.push_str(&format!(
            "users with a certificate of the old one only: {users}; each of them: flocker user renew\n"
        ));
    }
    if rotation.phase == RotationPhase::Issuing {
        let until = moment(rotation.until);
        text.push_str(&match rotation.until > now {
            true => format!(
                "both are trusted until {until} at least; flocker authority drop ends that now\n"
            ),
            false => "the old one is dropped when nobody has its certificates any more; flocker \
                authority drop --shut-out does not wait\n"
                .to_owned(),
        });
    }
    text
}

/// Certificates that need somebody's attention, a line each.
pub(crate) fn warnings(certificates: &[CertificateView], style: Style) -> String {
    let mut text = String::new();
    for certificate in certificates {
        if let Some(warning) = &certificate.warning {
            let whose = &certificate.whose;
            text.push_str(&format!("{} {whose}: {warning}\n", style.bad("!")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use flocker_types::access::{AuditRecord, UserRole};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn users_are_shown_with_what_they_may_and_until_when() {
        let user = |name: &str, revoked| UserRecord {
            name: name.to_owned(),
            role: UserRole::Operator,
            issued: UnixMs(1_800_000_000_000),
            expires: UnixMs(1_831_536_000_000),
            serial: "6a0c".to_owned(),
            added_by: "root".to_owned(),
            revoked,
        };
        let all = [
            user("ann", None),
            user("bob", Some(UnixMs(1_800_000_060_000))),
        ];
        insta::assert_snapshot!(users(&all, Style::Plain));
    }

    #[test]
    fn a_change_of_the_authority_says_who_is_waited_for() {
        let view = |phase, nodes: &[&str], users: &[&str]| RotationView {
            phase,
            begun: UnixMs(1_800_000_000_000),
            until: UnixMs(1_802_592_000_000),
            nodes: nodes.iter().map(|&name| name.to_owned()).collect(),
            users: users.iter().map(|&name| name.to_owned()).collect(),
        };
        let all = [
            (view(RotationPhase::Introducing, &["n2", "n3"], &["ann"]), 0),
            (view(RotationPhase::Issuing, &["n3"], &["ann", "bob"]), 0),
            (
                view(RotationPhase::Issuing, &[], &["ann"]),
                1_802_592_000_001,
            ),
            (view(RotationPhase::Dropping, &["n3"], &[]), 0),
        ];
        let texts = all.map(|(view, now)| rotation(&view, UnixMs(now)));
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn the_audit_log_says_who_asked_for_what_and_why_not() {
        let record = |sequence, answer, reason: Option<&str>| AuditRecord {
            sequence,
            at: UnixMs(1_800_000_000_000),
            who: "user ann (viewer)".to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)),
            request: "POST /v1/services/move".to_owned(),
            subject: (answer == AuditAnswer::Allowed).then(|| "move db to n2".to_owned()),
            answer,
            reason: reason.map(str::to_owned),
            unwritten: u64::from(answer == AuditAnswer::Refused) * 7,
        };
        let view = AuditView {
            records: vec![
                record(1, AuditAnswer::Allowed, None),
                record(2, AuditAnswer::Refused, Some("it needs the role operator")),
            ],
            oldest: Some(UnixMs(1_700_000_000_000)),
        };
        insta::assert_snapshot!(audit(&view, Style::Plain));
    }
}
