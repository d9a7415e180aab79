//! The imports between the modules of a crate. The children of a module must form no circle: a reader can
//! then begin with the lowest module. A file and the folder of the same name belong together: imports between
//! a module and its parent are not counted. Tests may import any module.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};
use crate::words::Hit;
use crate::workspace::File;

/// The path of a module or of an item, from the root of the crate.
type Path = Vec<String>;

/// The modules of a crate.
#[derive(Default)]
struct Crate {
    modules: BTreeSet<Path>,
    /// The modules for tests alone.
    tests: BTreeSet<Path>,
    /// The imported names: the module, the name, and the path as written.
    names: BTreeMap<(Path, String), Path>,
    /// The imports, and the paths in code.
    uses: Vec<Use>,
}

/// A path in the code of a module.
struct Use {
    module: Path,
    path: Path,
    place: String,
}

/// The circles of imports, each with the package.
pub(crate) fn hits<'a>(files: impl Iterator<Item = &'a (File, Source)>) -> Vec<(String, Hit)> {
    let mut crates: BTreeMap<&str, (&str, Crate)> = BTreeMap::new();
    for (file, source) in files {
        let Some((root, path)) = file.path.split_once("/src/") else { continue };
        let (_, own) = crates.entry(root).or_insert_with(|| (file.package(), Crate::default()));
        own.read(module_of(path), &file.path, source);
    }
    let circles =
        crates.values().flat_map(|(package, own)| own.circles().into_iter().map(move |at| (package, at)));
    circles
        .map(|(package, place)| ((*package).to_owned(), Hit { rule: "circles of imports", place }))
        .collect()
}

/// The module of a file, by the path from `src`.
fn module_of(path: &str) -> Path {
    let path = path.trim_end_matches(".rs").split('/').map(str::to_owned);
    path.filter(|part| !matches!(part.as_str(), "lib" | "main" | "mod")).collect()
}

impl Crate {
    fn read(&mut self, module: Path, file: &str, source: &Source) {
        let tokens = source.tokens();
        let mut modules = vec![(module.clone(), 0)];
        self.modules.insert(module);
        let mut depth = 0_usize;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let rest = &tokens[at..];
            match token.text() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    modules.pop_if(|(_, inner)| depth < *inner);
                }
                "mod" if rest.len() > 1 => {
                    let mut inner = modules[modules.len() - 1].0.clone();
                    inner.push(rest[0].text().to_owned());
                    if rest[0].text() == "tests" || is_for_tests(&tokens[..at - 1]) {
                        self.tests.insert(inner.clone());
                    }
                    if rest[1].text() == "{" {
                        self.modules.insert(inner.clone());
                        modules.push((inner, depth + 1));
                    }
                }
                "use" => {
                    let end = rest.iter().position(|token| token.text() == ";").unwrap_or(rest.len());
                    for (path, name) in tree(&rest[..end]) {
                        let module = modules[modules.len() - 1].0.clone();
                        self.names.insert((module.clone(), name), path.clone());
                        self.uses.push(Use { module, path, place: format!("{file}:{}", token.line()) });
                    }
                    at += end;
                }
                "crate" | "super" | "self" if is_path(rest) => {
                    let path = path_in_code(&tokens[at - 1..]);
                    let module = modules[modules.len() - 1].0.clone();
                    self.uses.push(Use { module, path, place: format!("{file}:{}", token.line()) });
                }
                _ => {}
            }
        }
    }

    /// The module of a path. Re-exported names are followed. `None`: the path leads to another crate.
    fn resolve(&self, module: &[String], path: &[String], names: u32) -> Option<Path> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Path::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => {
                rest = path;
                let is_known = self.child(module, first).is_some()
                    || self.names.contains_key(&(module.to_vec(), first.clone()));
                is_known.then(|| module.to_vec())?
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                at.pop()?;
            } else if let Some(child) = self.child(&at, next) {
                at = child;
            } else if let Some(name) = self.names.get(&(at.clone(), next.clone()))
                && let Some(names) = names.checked_sub(1)
            {
                let path: Path = name.iter().chain(after).cloned().collect();
                return self.resolve(&at, &path, names);
            } else {
                break;
            }
            rest = after;
        }
        Some(at)
    }

    fn is_of_tests(&self, module: &[String]) -> bool {
        (1..=module.len()).any(|end| self.tests.contains(&module[..end]))
    }

    fn child(&self, module: &[String], name: &str) -> Option<Path> {
        let child: Path = module.iter().cloned().chain([name.to_owned()]).collect();
        self.modules.contains(&child).then_some(child)
    }

    /// The imports between children of the same parent, by parent: the importing module, the imported module,
    /// and the first place.
    fn edges(&self) -> BTreeMap<Path, BTreeMap<(&str, String), &str>> {
        let mut edges: BTreeMap<Path, BTreeMap<(&str, String), &str>> = BTreeMap::new();
        for Use { module, path, place } in &self.uses {
            let Some(target) = self.resolve(module, path, 8) else { continue };
            if self.is_of_tests(module) || self.is_of_tests(&target) {
                continue;
            }
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let within = edges.entry(target[..common].to_vec()).or_default();
                within.entry((from, to.clone())).or_insert(place);
            }
        }
        edges
    }

    /// For every module in a circle, a shortest circle through the module, without duplicates.
    fn circles(&self) -> BTreeSet<String> {
        let mut circles = BTreeSet::new();
        for edges in self.edges().into_values() {
            let mut seen = BTreeSet::new();
            for (from, _) in edges.keys() {
                let Some(circle) = circle(from, &edges) else { continue };
                if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
                    let next = circle.iter().skip(1).chain(&circle[..1]);
                    let arrow = |(from, to): (&&str, &&str)| {
                        format!("{from} -> {to} ({})", edges[&(*from, (*to).to_owned())])
                    };
                    circles.insert(circle.iter().zip(next).map(arrow).collect::<Vec<_>>().join(", "));
                }
            }
        }
        circles
    }
}

/// A shortest circle through a module.
fn circle<'a>(start: &'a str, edges: &'a BTreeMap<(&'a str, String), &str>) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start]]);
    while let Some(way) = ways.pop_front() {
        let last = way[way.len() - 1];
        for (_, to) in edges.keys().filter(|(from, _)| *from == last) {
            if to == start {
                return Some(way);
            }
            if seen.insert(to.as_str()) {
                ways.push_back(way.iter().copied().chain([to.as_str()]).collect());
            }
        }
    }
    None
}

/// Whether the tokens end with `#[cfg(test)]`.
fn is_for_tests(before: &[Token<'_>]) -> bool {
    let end = before.iter().rev().take(6).map(Token::text);
    end.eq(["]", ")", "test", "(", "cfg", "["])
}

/// Whether a path continues here.
fn is_path(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [a, b, ..] if a.text() == ":" && b.text() == ":")
}

/// The path at the start of the tokens, up to a `<` or `{`.
fn path_in_code(tokens: &[Token<'_>]) -> Path {
    let mut path = vec![tokens[0].text().to_owned()];
    let mut rest = &tokens[1..];
    while is_path(rest) && rest.len() > 2 && rest[2].is_name() {
        path.push(rest[2].text().to_owned());
        rest = &rest[3..];
    }
    path
}

/// The paths of a `use`, each with the name in the module. A glob has the name `*`.
fn tree(tokens: &[Token<'_>]) -> Vec<(Path, String)> {
    let mut all = Vec::new();
    let (mut open, mut path): (Vec<usize>, Path) = (Vec::new(), Path::new());
    let mut name = None;
    let mut finish = |path: &mut Path, name: &mut Option<String>, open: &[usize]| {
        let start = open.last().copied().unwrap_or(0);
        if path.len() > start {
            if path[path.len() - 1] == "self" && path.len() > 1 {
                path.pop();
            }
            let name = name.take().unwrap_or_else(|| path[path.len() - 1].clone());
            all.push((path.iter().filter(|part| *part != "*").cloned().collect(), name));
        }
        path.truncate(start);
    };
    let mut tokens = tokens.iter();
    while let Some(token) = tokens.next() {
        match token.text() {
            ":" => {}
            "{" => open.push(path.len()),
            "," => finish(&mut path, &mut name, &open),
            "}" => {
                finish(&mut path, &mut name, &open);
                open.pop();
                // The prefix before the braces is not an import.
                path.truncate(open.last().copied().unwrap_or(0));
            }
            "as" => name = tokens.next().map(|token| token.text().to_owned()),
            part => path.push(part.to_owned()),
        }
    }
    finish(&mut path, &mut name, &open);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut own = Crate::default();
        for (path, text) in files {
            own.read(module_of(path), path, &Source::read(text));
        }
        own.circles().into_iter().collect()
    }

    /// A circle by a re-exported name, by nested braces, and by a path in code.
    #[test]
    fn circle_is_found() {
        let root = ("lib.rs", "mod a; mod b; mod c; pub use a::{inner::{Deep as Found, Other}, Near};");
        let a = ("a.rs", "pub use crate::c::Thing; mod inner;");
        let b = ("b.rs", "use crate::{Found, alien::Far}; fn f() { std::mem::drop(Found); }");
        let c = ("c.rs", "fn f() -> crate::b::B<u8> {}");
        let inner = ("a/inner.rs", "use super::Near;");
        assert_eq!(circles(&[root, a, b, c, inner]), ["a -> c (a.rs:1), c -> b (c.rs:1), b -> a (b.rs:1)"]);
        let c = ("c.rs", "mod tests { use super::*; use crate::b::B; }");
        assert!(circles(&[root, a, b, c, inner]).is_empty());
        let root = ("lib.rs", "mod a; #[cfg(test)] mod b; mod c; pub use a::{inner::{Deep as Found}, Near};");
        let c = ("c.rs", "fn f() -> crate::b::B<u8> {}");
        assert!(circles(&[root, a, b, c, inner]).is_empty());
    }

    /// A circle among the children of a module. Imports from the parent, and by the parent, are not counted.
    #[test]
    fn circle_below_module_is_found() {
        let above = ("a.rs", "mod x; mod y; use x::X; use y::Y;");
        let x = ("a/x.rs", "use super::{self, Y};");
        let y = ("a/y.rs", "use super::super::a::A;\nuse crate::a::x::*;");
        assert_eq!(circles(&[above, x, y]), ["x -> y (a/x.rs:1), y -> x (a/y.rs:2)"]);
        let y = ("a/y.rs", "use super::A;");
        assert!(circles(&[above, x, y]).is_empty());
    }
}
