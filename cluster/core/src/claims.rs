//! Claims about a deserialized machine. The first false claim names the field that contradicts others.

/// The name of a field, and whether the claim about this field is true.
pub(crate) type Claim = (&'static str, bool);

/// The name of the first claim that is false.
pub(crate) fn first_false<const N: usize>(claims: [Claim; N]) -> Option<&'static str> {
    claims.into_iter().find(|(_, is_true)| !is_true).map(|(name, _)| name)
}
