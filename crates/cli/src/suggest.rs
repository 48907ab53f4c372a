//! "Did you mean?": the known name that is nearest to a wrong one. Pure.

/// Names that differ in more than a third of their letters are other names.
const LETTERS_PER_SLIP: usize = 3;

/// The nearest of the known names, if one is near.
pub(crate) fn nearest(wrong: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> Option<String> {
    let slips_max = (wrong.chars().count() / LETTERS_PER_SLIP).max(1);
    let distance = |name: &str| {
        let plain = |text: &str| text.to_lowercase().replace(['.', '-', '_'], "-");
        strsim::damerau_levenshtein(&plain(wrong), &plain(name))
    };
    let near = known.into_iter().filter_map(|name| {
        let name = name.as_ref();
        // A part of a name is what people remember of it.
        let is_part = wrong.chars().count() >= 4 && name.to_lowercase().contains(&wrong.to_lowercase());
        let distance = distance(name);
        (distance <= slips_max || is_part).then(|| (distance, name.to_owned()))
    });
    near.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_strangers_are_not() {
        let known = ["orders", "payments", "src.earthquakes", "orders-2"];
        assert_eq!(nearest("ordres", known).as_deref(), Some("orders"));
        assert_eq!(nearest("orders_2", known).as_deref(), Some("orders-2"));
        assert_eq!(nearest("earthquakes", known).as_deref(), Some("src.earthquakes"));
        assert_eq!(nearest("customers", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
