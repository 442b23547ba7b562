//! Finds the word that a misspelt one was probably meant to be.
//!
//! Used wherever a manifest names something from a known set: keys, services, volumes.

/// The known word nearest to `word`, when it is near enough to be a slip of the hand.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const CHARS_MAX: usize = 64;
    if word.chars().count() > CHARS_MAX {
        return None;
    }
    let lowered = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        // Cheaper than the distance, and never larger.
        .filter(|candidate| candidate.chars().count().abs_diff(lowered.chars().count()) <= 3)
        .map(|candidate| {
            let distance = distance(&lowered, &candidate.to_lowercase().replace('-', "_"));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let shorter = candidate.chars().count().min(lowered.chars().count());
            *distance <= (shorter / 3).min(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, where an edit changes, adds or removes one character or swaps two
/// neighbours.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, from_char) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to_char) in to.iter().enumerate() {
            let changed = last[column] + usize::from(from_char != to_char);
            let mut best = changed.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *from_char == to[column - 1] && from[row - 1] == *to_char {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["image", "ports", "links", "environment"];
        assert_eq!(nearest("imgae", keys), Some("image"));
        assert_eq!(nearest("port", keys), Some("ports"));
        assert_eq!(nearest("enviroment", keys), Some("environment"));
        assert_eq!(nearest("Image", keys), Some("image"));
        assert_eq!(nearest("foo", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
