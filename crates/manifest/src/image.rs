//! Image references: what is a registry, what is a tag, and what is neither.
//!
//! Follows the grammar of the OCI distribution references. Pure text; asks no registry.

/// Why a text is not an image reference, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImageProblem {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: String,
}

/// The reference with an explicit tag (`latest` when it has neither tag nor digest).
pub(crate) fn parse(reference: &str) -> Result<String, ImageProblem> {
    let problem = |message: &str, hint: String| {
        Err(ImageProblem {
            message: message.to_owned(),
            hint,
        })
    };
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    // A ':' before the last '/' belongs to the registry's port, as in host:5000/foo.
    let path_start = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[path_start..].find(':') {
        Some(colon) => {
            let (repository, tag) = named.split_at(path_start + colon);
            (repository, Some(&tag[1..]))
        }
        None => (named, None),
    };
    if repository.is_empty() {
        return problem(
            "the image has no name",
            "write 'repository:tag', for example postgres:16".to_owned(),
        );
    }
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return if tag.is_empty() {
            problem(
                "the image has a ':' but no tag after it",
                format!("write '{repository}:latest', or '{repository}' without the ':'"),
            )
        } else {
            problem(
                "the image's tag is not valid",
                "a tag has letters, digits, '_', '.' and '-', at most 128, and does not start \
                 with '.' or '-'"
                    .to_owned(),
            )
        };
    }
    if let Some(digest) = digest
        && !is_digest(digest)
    {
        return problem(
            "the image's digest is not valid",
            "a digest is 'sha256:' and 64 hexadecimal digits (0-9, a-f)".to_owned(),
        );
    }
    check_repository(repository)?;
    Ok(if tag.is_none() && digest.is_none() {
        format!("{reference}:latest")
    } else {
        reference.to_owned()
    })
}

fn check_repository(repository: &str) -> Result<(), ImageProblem> {
    const REPOSITORY_BYTES_MAX: usize = 255;
    let path = match repository.split_once('/') {
        Some((first, rest)) if is_registry(first) => {
            if !is_valid_registry(first) {
                return Err(ImageProblem {
                    message: "the image's registry is not a host name with an optional port"
                        .to_owned(),
                    hint: "write 'host/repository' or 'host:port/repository'".to_owned(),
                });
            }
            rest
        }
        _ => repository,
    };
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(ImageProblem {
            message: "the image's name has capital letters".to_owned(),
            hint: format!(
                "write '{}'",
                repository.replace(path, &path.to_ascii_lowercase())
            ),
        });
    }
    if repository.len() > REPOSITORY_BYTES_MAX || !path.split('/').all(is_path_component) {
        return Err(ImageProblem {
            message: "the image's name is not valid".to_owned(),
            hint: "a name has small letters and digits, with single '.', '_' or '-' between them, \
                   and '/' between its parts; at most 255 characters"
                .to_owned(),
        });
    }
    Ok(())
}

/// The first part names a registry when it could not be a part of a name on Docker Hub.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|c: char| c.is_ascii_uppercase())
}

fn is_valid_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !registry.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let host_is_valid = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    let port_is_valid = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    host_is_valid && port_is_valid
}

fn is_path_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_word(*first)
        && is_word(*last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}

fn is_tag(tag: &str) -> bool {
    const TAG_BYTES_MAX: usize = 128;
    !tag.is_empty()
        && tag.len() <= TAG_BYTES_MAX
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let is_hex = hex
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match algorithm {
        "sha256" => is_hex && hex.len() == 64,
        "sha512" => is_hex && hex.len() == 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_port_is_not_a_tag() {
        for (given, read) in [
            ("busybox", "busybox:latest"),
            ("mysql:5.6.17", "mysql:5.6.17"),
            ("host:5000/foo", "host:5000/foo:latest"),
            ("host:5000/foo:1", "host:5000/foo:1"),
            ("localhost/foo", "localhost/foo:latest"),
            ("ghcr.io/a/b-c__d", "ghcr.io/a/b-c__d:latest"),
            ("[::1]:5000/foo", "[::1]:5000/foo:latest"),
            ("clusterhq/mongodb", "clusterhq/mongodb:latest"),
        ] {
            assert_eq!(parse(given).as_deref(), Ok(read), "{given}");
        }
        let pinned = format!("foo@sha256:{}", "a".repeat(64));
        assert_eq!(parse(&pinned), Ok(pinned.clone()));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in [
            "",
            ":tag",
            "busybox:",
            "Foo",
            "a b",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "a@b",
            "a..b",
            "-a",
            "host:99999/a",
            "a:-b",
            "ä",
            "http://host/a",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
