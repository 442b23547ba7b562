//! placeholder
#[cfg(test)]
pub(crate) mod testing;
