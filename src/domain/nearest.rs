//! The nearest word to a misspelt one, for every message that says "unknown".

/// Longer words are not compared: nobody mistypes a paragraph, and the comparison costs the product of both lengths.
const WORD_MAX: usize = 64;

/// The word nearest to `given`, if it is near enough to be what was meant: at most a third of the letters differ.
/// Case and the choice between `-` and `_` count as no difference.
pub fn nearest<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = folded(given)?;
    words
        .into_iter()
        .filter_map(|word| Some((distance(&given, &folded(word)?), word)))
        .filter(|(distance, word)| *distance <= given.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn folded(word: &str) -> Option<Vec<char>> {
    let fold = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
    (word.len() <= WORD_MAX).then(|| word.chars().map(fold).collect())
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment; Damerau 1964).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_a_stranger_finds_none() {
        let words = ["endpoints", "base_path", "first_token"];
        assert_eq!(nearest("endpoint", words), Some("endpoints"));
        assert_eq!(nearest("endpiont", words), Some("endpoints"));
        assert_eq!(nearest("First-Token", words), Some("first_token"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn swapped_neighbours_are_one_slip() {
        let letters = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("weihgt"), &letters("weight")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
