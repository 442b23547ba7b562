//! Join tokens: what a person carries from the cluster to a new server, once.
//!
//! A token pins the authority, so that the new server knows whom it talks to, and proves to control
//! that somebody allowed the server in. Control makes and keeps the records and lets each be used
//! once; here is what they look like and when one matches.

use super::{NoRandomness, random_bytes};
use flocker_types::time::UnixMs;
use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "flocker-join-";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
const BODY_BYTES: usize = 32 + ID_BYTES + SECRET_BYTES;
const TEXT_CHARACTERS: usize = (BODY_BYTES + CHECKSUM_BYTES) * 8 / 5;
/// Crockford's base 32: no letter looks like a digit, case does not matter, and a double click
/// selects all of it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// SHA-256 of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The fingerprint of a certificate.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Fingerprint(sha256(certificate))
}

/// What a person gives to `flocker join --token`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The authority that the new server shall trust.
    pub authority: Fingerprint,
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
}

/// The part of a token that goes to control: it proves that the sender has the token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenProof {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
}

/// What control keeps of a token. The token cannot be made from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Names the token, in hexadecimal.
    pub id: String,
    /// SHA-256 of its secret, in hexadecimal.
    pub secret_sha256: String,
    /// Until when it is good.
    pub expires: UnixMs,
}

/// A text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Something else.
    #[error("this is not a join token: it must begin with \"flocker-join-\"")]
    NotAToken,
    /// A part is missing, or something was added.
    #[error(
        "the join token is not complete: it has {found} characters after \"flocker-join-\" \
         instead of {expected}; copy all of it"
    )]
    Length {
        /// How many it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// A character that no token has.
    #[error("the join token was mistyped: character {position} cannot be '{character}'")]
    Character {
        /// Which, counted from 1, over the whole token.
        position: usize,
        /// What stands there.
        character: char,
    },
    /// Some character is wrong.
    #[error("the join token was mistyped: its check digits do not match; copy it again")]
    Checksum,
}

/// Control does not let the bearer of a token in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// The secret is not the one.
    #[error("the join token is not one of this cluster")]
    Unknown,
    /// Its time is over.
    #[error("the join token has expired; make a new one with `flocker token`")]
    Expired,
}

impl JoinToken {
    /// A new token for the cluster of this authority.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn create(authority: Fingerprint) -> Result<Self, NoRandomness> {
        Ok(Self {
            authority,
            id: random_bytes()?,
            secret: random_bytes()?,
        })
    }

    /// What control keeps of it.
    pub fn record(&self, expires: UnixMs) -> TokenRecord {
        TokenRecord {
            id: hex(&self.id),
            secret_sha256: hex(&sha256(&self.secret)),
            expires,
        }
    }

    /// What goes to control.
    pub fn proof(&self) -> TokenProof {
        TokenProof {
            id: self.id,
            secret: self.secret,
        }
    }
}

impl TokenProof {
    /// Which record it is to be checked against.
    pub fn id(&self) -> String {
        hex(&self.id)
    }
}

impl TokenRecord {
    /// Whether the proof is of this token and in time. That a token is used once is for control to
    /// see to, in the transaction that lets the node in.
    ///
    /// # Errors
    /// [`TokenRefused`] says why not.
    pub fn check(&self, proof: &TokenProof, now: UnixMs) -> Result<(), TokenRefused> {
        // Hashes of random secrets: how long the comparison takes tells nothing of the secret.
        if self.id != proof.id() || self.secret_sha256 != hex(&sha256(&proof.secret)) {
            return Err(TokenRefused::Unknown);
        }
        if now >= self.expires {
            return Err(TokenRefused::Expired);
        }
        Ok(())
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BODY_BYTES + CHECKSUM_BYTES);
        bytes.extend_from_slice(&self.authority.0);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&sha256(&bytes)[..CHECKSUM_BYTES]);
        write!(f, "{PREFIX}{}", encode(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let body = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(InvalidToken::NotAToken)?;
        let bytes = decode(body, TEXT_CHARACTERS, PREFIX.len())?;
        let (body, checksum) = bytes.split_at(BODY_BYTES);
        if sha256(body)[..CHECKSUM_BYTES] != *checksum {
            return Err(InvalidToken::Checksum);
        }
        Ok(Self {
            authority: Fingerprint(part(body, 0)),
            id: part(body, 32),
            secret: part(body, 32 + ID_BYTES),
        })
    }
}

impl fmt::Display for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&[&self.id[..], &self.secret].concat()))
    }
}

impl FromStr for TokenProof {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        // The last character carries bits that no byte needs.
        let bytes = decode(text, ((ID_BYTES + SECRET_BYTES) * 8).div_ceil(5), 0)?;
        Ok(Self {
            id: part(&bytes, 0),
            secret: part(&bytes, ID_BYTES),
        })
    }
}

// Secrets stay out of logs.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", hex(&self.id))
    }
}

impl fmt::Debug for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenProof({})", hex(&self.id))
    }
}

fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    bytes[start..start + N]
        .try_into()
        .expect("a slice of N bytes is an array of N bytes")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    part(digest(&SHA256, bytes).as_ref(), 0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(bytes: &[u8]) -> String {
    let bit = |index: usize| {
        let byte = bytes.get(index / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - index % 8) & 1)
    };
    let characters = (bytes.len() * 8).div_ceil(5);
    let digit = |number: usize| (0..5).fold(0, |value, at| value << 1 | bit(number * 5 + at));
    (0..characters)
        .map(|number| char::from(ALPHABET[digit(number)]))
        .collect()
}

/// `offset` is what stands before `text` in what the person typed.
fn decode(text: &str, expected: usize, offset: usize) -> Result<Vec<u8>, InvalidToken> {
    let found = text.chars().count();
    let mut bytes = Vec::with_capacity(expected * 5 / 8);
    let (mut pending, mut bits) = (0_u32, 0);
    for (index, character) in text.chars().enumerate() {
        // As Crockford has it, look-alikes are read as what was meant.
        let meant = match character.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        };
        let digit = ALPHABET
            .iter()
            .position(|&letter| char::from(letter) == meant)
            .and_then(|digit| u32::try_from(digit).ok())
            .ok_or(InvalidToken::Character {
                position: offset + index + 1,
                character,
            })?;
        pending = (pending << 5 | digit) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits).to_le_bytes()[0]);
        }
    }
    if found != expected {
        return Err(InvalidToken::Length { found, expected });
    }
    // Bits of the last character that no byte needs: one token has one text.
    if pending & ((1 << bits) - 1) != 0 {
        return Err(InvalidToken::Checksum);
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "token_test.rs"]
mod tests;
