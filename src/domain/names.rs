//! Names that people mistype, and names from outside that must be shown with care.

/// Longer names are cut in messages: a name from outside may be a megabyte of anything.
const NAME_SHOWN_MAX: usize = 128;

/// Names from outside are shown escaped and cut.
pub fn shown(name: &str) -> String {
    let escaped: String = name.chars().take(NAME_SHOWN_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAME_SHOWN_MAX).is_some() { format!("{escaped}…") } else { escaped }
}

/// The name that differs least, if it differs by less than half: close enough to be what was meant.
pub fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_SHOWN_MAX {
        return None;
    }
    all.map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance * 2 <= candidate.chars().count().max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, by Wagner and Fischer's rows.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
