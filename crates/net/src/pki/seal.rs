//! Sealing short texts so that only the process that sealed them can read them, and only in their place.
//!
//! Control seals the secrets in plans that it gives out. The key is made at its start and never leaves it.

use super::{NoRandomness, random_bytes};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;

const KEY_BYTES: usize = 32;

/// Seals and opens.
pub struct Sealer(LessSafeKey);

/// A sealed text was made by another process, for another place, or was changed. Trying again does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value cannot be opened: it is from another place, or control was started again")]
pub struct NotOurSeal;

impl Sealer {
    /// One with a new key.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn create() -> Result<Self, NoRandomness> {
        let bytes = random_bytes::<KEY_BYTES>()?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| NoRandomness)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a text for a place, from which alone it can be opened.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn seal(&self, text: &str, place: &str) -> Result<String, NoRandomness> {
        let nonce = random_bytes::<NONCE_LEN>()?;
        let mut bytes = text.as_bytes().to_vec();
        let aad = Aad::from(place.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut bytes)
            .map_err(|_| NoRandomness)?;
        let all = nonce.iter().chain(&bytes);
        Ok(all.fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    /// Opens what [`Sealer::seal`] made.
    ///
    /// # Errors
    /// [`NotOurSeal`].
    pub fn open(&self, sealed: &str, place: &str) -> Result<String, NotOurSeal> {
        let bytes = from_hexadecimal(sealed).ok_or(NotOurSeal)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or(NotOurSeal)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOurSeal)?;
        let mut text = text.to_vec();
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut text)
            .map_err(|_| NotOurSeal)?;
        String::from_utf8(opened.to_vec()).map_err(|_| NotOurSeal)
    }
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect()
}

// Never the key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_sealed_opens_and_only_in_its_place() {
        let sealer = Sealer::create().unwrap();
        let sealed = sealer.seal("hunter2", "db PASSWORD").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, sealer.seal("hunter2", "db PASSWORD").unwrap());
        assert_eq!(
            sealer.open(&sealed, "db PASSWORD").as_deref(),
            Ok("hunter2")
        );
        assert_eq!(sealer.open(&sealed, "web PASSWORD"), Err(NotOurSeal));
        let other = Sealer::create().unwrap();
        assert_eq!(other.open(&sealed, "db PASSWORD"), Err(NotOurSeal));
        for bad in ["", "zz", "0", "\u{e9}", &sealed[2..], &sealed[..20]] {
            assert_eq!(sealer.open(bad, "db PASSWORD"), Err(NotOurSeal), "{bad}");
        }
    }
}
