//! Join tokens: text and back, every single mistake found, records that match once and in time.

use super::*;

fn token() -> JoinToken {
    JoinToken::create(Fingerprint([0xa5; 32])).unwrap()
}

#[test]
fn a_token_reads_what_it_shows() {
    let token = token();
    let text = token.to_string();
    assert_eq!(text.parse(), Ok(token.clone()));
    assert_eq!(text.len(), PREFIX.len() + 96);
    // As somebody reads it out over the telephone, or copies it with the line's end.
    let (prefix, body) = text.split_at(PREFIX.len());
    let spoken = format!(
        " {prefix}{}\n",
        body.to_uppercase().replace('0', "O").replace('1', "l")
    );
    assert_eq!(spoken.parse(), Ok(token));
}

#[test]
fn every_single_mistyped_character_is_recognised() {
    let text = token().to_string();
    for position in PREFIX.len()..text.len() {
        let mut typed = text.clone().into_bytes();
        typed[position] = if typed[position] == b'7' { b'8' } else { b'7' };
        let typed = String::from_utf8(typed).unwrap();
        assert_eq!(
            typed.parse::<JoinToken>(),
            Err(InvalidToken::Checksum),
            "at {position}"
        );
    }
}

#[test]
fn what_is_wrong_is_said() {
    let text = token().to_string();
    assert_eq!("hunter2".parse::<JoinToken>(), Err(InvalidToken::NotAToken));
    assert_eq!(
        text[..text.len() - 6].parse::<JoinToken>(),
        Err(InvalidToken::Length {
            found: 90,
            expected: 96
        })
    );
    let mut typed = text.clone();
    typed.replace_range(20..21, "!");
    assert_eq!(
        typed.parse::<JoinToken>(),
        Err(InvalidToken::Character {
            position: 21,
            character: '!'
        })
    );
    assert!("flocker-join-ü".parse::<JoinToken>().is_err());
    assert!(
        text.parse::<TokenProof>().is_err(),
        "a whole token is no proof"
    );
}

#[test]
fn a_record_matches_its_own_token_in_time_only() {
    let token = token();
    let record = token.record(UnixMs(1_000));
    let proof: TokenProof = token.proof().to_string().parse().unwrap();
    assert_eq!(proof.id(), record.id);
    assert_eq!(record.check(&proof, UnixMs(999)), Ok(()));
    assert_eq!(
        record.check(&proof, UnixMs(1_000)),
        Err(TokenRefused::Expired)
    );
    let other = self::token().proof();
    assert_eq!(record.check(&other, UnixMs(0)), Err(TokenRefused::Unknown));
    let forged = TokenProof {
        id: proof.id,
        secret: other.secret,
    };
    assert_eq!(record.check(&forged, UnixMs(0)), Err(TokenRefused::Unknown));
}

#[test]
fn neither_debug_nor_record_shows_the_secret() {
    let token = token();
    let shown = format!(
        "{token:?} {:?} {:?}",
        token.proof(),
        token.record(UnixMs(0))
    );
    assert!(!shown.contains(&hex(&token.secret)), "{shown}");
    assert!(
        !shown.contains(&token.to_string()[PREFIX.len()..]),
        "{shown}"
    );
}

#[test]
fn one_proof_has_one_text() {
    let token = JoinToken::create(Fingerprint([7; 32])).unwrap();
    let text = token.proof().to_string();
    assert!(text.parse::<TokenProof>().is_ok());
    // The last three bits belong to no byte.
    let last = text.chars().last().unwrap();
    let at = ALPHABET
        .iter()
        .position(|&c| char::from(c) == last)
        .unwrap();
    assert_eq!(at % 8, 0);
    for more in 1..8 {
        let mut other = text[..text.len() - 1].to_owned();
        other.push(char::from(ALPHABET[at + more]));
        assert_eq!(
            other.parse::<TokenProof>().err(),
            Some(InvalidToken::Checksum)
        );
    }
}
