//! What differs, and whether it may.

/// What was asked, and how it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) label: String,
    pub(crate) answer: String,
}

/// One answer that is not as Kafka's.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    label: String,
    /// Lines that only one side has, with `-` for Kafka's and `+` for ours.
    lines: Vec<String>,
}

impl Difference {
    /// `None` when there is none.
    pub(crate) fn between(label: String, theirs: &str, ours: &str) -> Option<Self> {
        (theirs != ours).then(|| Self { label, lines: lines_of_one_side(theirs, ours) })
    }
}

/// Every answer of both sides in turn.
pub(crate) fn compare(kafka: &[Exchange], twinstream: &[Exchange]) -> Vec<Difference> {
    let pairs = kafka.iter().zip(twinstream);
    let parted = pairs.clone().find(|(theirs, ours)| theirs.label != ours.label);
    assert!(parted.is_none(), "the sides were asked different things from here on: {parted:#?}");
    assert_eq!(kafka.len(), twinstream.len(), "both sides were asked the same");
    pairs.filter_map(|(theirs, ours)| Difference::between(theirs.label.clone(), &theirs.answer, &ours.answer)).collect()
}

fn lines_of_one_side(theirs: &str, ours: &str) -> Vec<String> {
    let theirs: Vec<&str> = theirs.lines().collect();
    let ours: Vec<&str> = ours.lines().collect();
    // The longest common subsequence, by the classic table; answers have tens of lines.
    let mut table = vec![vec![0_u32; ours.len() + 1]; theirs.len() + 1];
    for (i, their) in theirs.iter().enumerate().rev() {
        for (j, our) in ours.iter().enumerate().rev() {
            let longer = table[i + 1][j].max(table[i][j + 1]);
            table[i][j] = if their == our { table[i + 1][j + 1] + 1 } else { longer };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < theirs.len() || j < ours.len() {
        if i < theirs.len() && j < ours.len() && theirs[i] == ours[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == ours.len() || (i < theirs.len() && table[i + 1][j] >= table[i][j + 1]) {
            lines.push(format!("- {}", theirs[i].trim()));
            i += 1;
        } else {
            lines.push(format!("+ {}", ours[j].trim()));
            j += 1;
        }
    }
    lines
}

/// What may differ, as a file that a person edits: `label | parts | reason`. The label may end in `*`. A part is what is in
/// a line that differs, behind `- ` or `+ ` where only the line of one side may hold it; several stand with ` ; ` between
/// them, and each has to explain a line.
pub(crate) struct Deviations {
    rows: Vec<Row>,
}

struct Row {
    label: String,
    parts: Vec<String>,
    text: String,
}

impl Deviations {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rows = lines.map(|line| {
            let cells: Vec<&str> = line.splitn(3, " | ").map(str::trim).collect();
            let [label, parts, reason] = cells[..] else { panic!("`{line}` is not `label | parts | reason`") };
            assert!(!reason.is_empty(), "`{line}` gives no reason");
            let parts: Vec<String> = parts.split(" ; ").map(|part| part.trim().to_owned()).collect();
            // A deviation that holds for any line would hide what comes to be wrong later.
            assert!(parts.iter().all(|part| part.chars().any(char::is_alphanumeric)), "`{line}` names no line");
            Row { label: label.to_owned(), parts, text: line.to_owned() }
        });
        Self { rows: rows.collect() }
    }

    /// Differences that nobody explains, and explanations of nothing.
    pub(crate) fn judge(&self, differences: Vec<Difference>) -> Vec<String> {
        let mut used: Vec<Vec<bool>> = self.rows.iter().map(|row| vec![false; row.parts.len()]).collect();
        let mut complaints = Vec::new();
        for difference in differences {
            let mut left = Vec::new();
            for line in &difference.lines {
                let mut is_explained = false;
                for (row, used) in self.rows.iter().zip(&mut used).filter(|(row, _)| row.is_about(&difference)) {
                    for (_, used) in row.parts.iter().zip(used).filter(|(part, _)| explains(part, line)) {
                        (is_explained, *used) = (true, true);
                    }
                }
                if !is_explained {
                    left.push(line.as_str());
                }
            }
            if !left.is_empty() {
                complaints.push(format!("{}\n    {}", difference.label, left.join("\n    ")));
            }
        }
        for (row, used) in self.rows.iter().zip(used) {
            let idle = row.parts.iter().zip(used).filter(|(_, used)| !used);
            let idle: Vec<&str> = idle.map(|(part, _)| part.as_str()).collect();
            if !idle.is_empty() {
                complaints.push(format!("`{}` explains nothing, take it away: {}", idle.join(" ; "), row.text));
            }
        }
        complaints
    }
}

impl Row {
    fn is_about(&self, difference: &Difference) -> bool {
        match self.label.strip_suffix('*') {
            Some(start) => difference.label.starts_with(start),
            None => difference.label == self.label,
        }
    }
}

fn explains(part: &str, line: &str) -> bool {
    match part.get(..2) {
        Some(sign @ ("- " | "+ ")) => line.strip_prefix(sign).is_some_and(|line| line.contains(&part[2..])),
        _ => line.contains(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(deviations: &str, theirs: &str, ours: &str) -> Vec<String> {
        let difference = Difference::between("Fetch: all v4".to_owned(), theirs, ours);
        Deviations::parse(deviations).judge(difference.into_iter().collect())
    }

    #[test]
    fn a_difference_names_the_lines_of_each_side() {
        let complaints = judge("", "a\nb\nc", "a\nx\nc");
        assert_eq!(complaints, ["Fetch: all v4\n    - b\n    + x"]);
        assert!(judge("", "a", "a").is_empty());
    }

    #[test]
    fn a_deviation_explains_its_lines_and_no_others() {
        assert!(judge("Fetch: all* | code: | not the same word", "code: 1", "code: 2").is_empty());
        let complaints = judge("Fetch: all* | code: | not the same word", "code: 1\nb", "code: 2\nx");
        assert_eq!(complaints, ["Fetch: all v4\n    - b\n    + x"]);
    }

    #[test]
    fn a_deviation_that_explains_nothing_has_to_go() {
        let complaints = judge("Fetch: all* | code: | was once", "a", "a");
        assert!(complaints[0].contains("explains nothing"), "{complaints:?}");
    }

    #[test]
    fn a_part_with_a_sign_explains_the_line_of_one_side_only() {
        let parts = "Fetch: all* | - code: 1 ; + code: 2 | another word";
        assert!(judge(parts, "code: 1", "code: 2").is_empty());
        let complaints = judge(parts, "code: 2", "code: 1");
        assert_eq!(complaints[0], "Fetch: all v4\n    - code: 2\n    + code: 1");
        let complaints = judge(parts, "code: 1\ncode: 2", "code: 2");
        assert!(complaints[0].starts_with("`+ code: 2` explains nothing"), "{complaints:?}");
    }

    #[test]
    #[should_panic(expected = "names no line")]
    fn a_deviation_of_any_line_is_refused() {
        Deviations::parse("Fetch: all* | * | because");
    }
}
