//! The authority: what it issues, what it refuses, and that it survives being written to files.

use super::*;
use flocker_types::access::UserRole;
use flocker_types::ids::NodeId;
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;

fn node(authority: &Authority) -> Identity {
    Identity {
        cluster: authority.cluster(),
        role: Role::Node(NodeId(Uuid::from_u128(9))),
    }
}

fn authority() -> Authority {
    Authority::create(ClusterId(Uuid::from_u128(1))).unwrap()
}

fn identity_in(pem: &str) -> Identity {
    Identity::from_certificate(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
}

#[test]
fn survives_its_files_and_keeps_the_key_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("ca.pem"),
        directory.path().join("ca.key"),
    );
    let made = authority();
    // Even over a file that everybody could read.
    std::fs::write(&key, "old").unwrap();
    made.save(&certificate, &key).unwrap();
    let loaded = Authority::load(&certificate, &key).unwrap();
    assert_eq!(loaded.cluster(), made.cluster());
    assert_eq!(loaded.fingerprint(), made.fingerprint());
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["ca.key", "ca.pem"]);
}

#[test]
fn a_request_gives_nothing_but_its_key() {
    let authority = authority();
    let identity = node(&authority);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::default();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.subject_alt_names = vec![SanType::URI(
        format!("flocker://{}/control", authority.cluster())
            .try_into()
            .unwrap(),
    )];
    let request = greedy.serialize_request(&key).unwrap().pem().unwrap();
    let pem = authority
        .sign_request(&request, &identity, NODE_VALIDITY)
        .unwrap();
    assert_eq!(identity_in(&pem), identity);
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!parsed.is_ca());
    assert!(has_public_key(&der, &key));
    let validity = parsed.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(
        seconds,
        i64::try_from((NODE_VALIDITY + CLOCK_SKEW_MAX).as_secs()).unwrap()
    );
}

#[test]
fn a_joiners_request_is_signed() {
    let authority = authority();
    let made = key_and_request().unwrap();
    let identity = node(&authority);
    let pem = authority
        .sign_request(&made.request_pem, &identity, NODE_VALIDITY)
        .unwrap();
    assert_eq!(identity_in(&pem), identity);
    assert!(!made.request_pem.contains("PRIVATE"));
}

#[test]
fn what_is_not_a_proper_request_is_refused() {
    let authority = authority();
    let sign = |request: &str| authority.sign_request(request, &node(&authority), NODE_VALIDITY);
    assert!(matches!(
        sign("nonsense"),
        Err(AuthorityError::BadRequest { .. })
    ));
    let other_curve = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let request = CertificateParams::default()
        .serialize_request(&other_curve)
        .unwrap();
    let error = sign(&request.pem().unwrap()).unwrap_err();
    assert!(error.to_string().contains("P-256"), "{error}");
    let der = {
        let good = key_and_request().unwrap().request_pem;
        let mut der =
            rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(good.as_bytes())
                .unwrap()
                .to_vec();
        // The last byte belongs to the signature that proves possession of the key.
        *der.last_mut().unwrap() ^= 1;
        der
    };
    assert!(CertificateSigningRequestParams::from_der(&der.as_slice().into()).is_err());
}

#[test]
fn it_vouches_for_its_own_cluster_and_for_names_only() {
    let authority = authority();
    let mut identity = node(&authority);
    identity.cluster = ClusterId(Uuid::from_u128(2));
    assert!(matches!(
        authority.issue(&identity, NODE_VALIDITY),
        Err(AuthorityError::OtherCluster { .. })
    ));
    let identity = Identity {
        cluster: authority.cluster(),
        role: Role::User {
            name: "a/../control".to_owned(),
            role: UserRole::Admin,
        },
    };
    assert!(matches!(
        authority.issue(&identity, USER_VALIDITY),
        Err(AuthorityError::Name(_))
    ));
}

#[test]
fn files_that_do_not_belong_together_are_recognised() {
    let (one, two) = (authority(), authority());
    assert!(matches!(
        Authority::from_pem(one.certificate_pem(), &two.issuer.key().serialize_pem()),
        Err(AuthorityError::KeyMismatch)
    ));
    assert!(matches!(
        Authority::from_pem(one.certificate_pem(), "nonsense"),
        Err(AuthorityError::BadKey { .. })
    ));
    let issued = one.issue(&node(&one), NODE_VALIDITY).unwrap();
    assert!(matches!(
        Authority::from_pem(&issued.certificate_pem, &issued.key_pem),
        Err(AuthorityError::NotAnAuthority { .. })
    ));
}

#[test]
fn a_mark_is_that_of_one_authority_on_one_text() {
    let cluster = ClusterId(Uuid::from_u128(1));
    let (ours, other) = (
        Authority::create(cluster).unwrap(),
        Authority::create(cluster).unwrap(),
    );
    let mark = ours.mark("a text");
    assert!(ours.has_marked("a text", &mark));
    let again = Authority::from_pem(ours.certificate_pem(), &ours.key_pem()).unwrap();
    assert!(
        again.has_marked("a text", &mark),
        "the same after a restart"
    );
    assert!(!ours.has_marked("another text", &mark));
    assert!(!other.has_marked("a text", &mark));
    for bad in ["", "0", "zz", "é", &mark[2..], &format!("{mark}00")] {
        assert!(!ours.has_marked("a text", bad), "{bad}");
    }
}
