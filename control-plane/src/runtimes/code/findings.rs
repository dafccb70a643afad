//! Each place in a program that needs more than the isolate has.

use oxc_ast::AstKind;
use oxc_ast::ast::{BindingPattern, Expression, ImportExpression};
use oxc_semantic::{AstNode, NodeId, Semantic, SymbolId};
use oxc_span::GetSpan as _;
use oxc_syntax::operator::{BinaryOperator, UnaryOperator};

use super::shown;
use super::surface::{self, GLOBAL_OBJECTS};

/// With the data of ICU behind them in Node.js, and without it in the isolate, which gives other answers and no error.
const LOCALE_METHODS: &[&str] = &[
    "localeCompare",
    "toLocaleDateString",
    "toLocaleString",
    "toLocaleTimeString",
];
/// The same with an argument.
const LOCALE_METHODS_WITH_ARGUMENTS: &[&str] = &["toLocaleLowerCase", "toLocaleUpperCase"];

const SUBTLE_HANDED_ON: &str = "hands crypto.subtle on, of which the isolate has only digest";

pub(super) struct Finding {
    /// Where in the source.
    pub(super) at: u32,
    pub(super) what: String,
}

impl Finding {
    fn new(at: u32, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }

    fn lacking(at: u32, name: &str) -> Self {
        Self::new(at, format!("uses {}, which the isolate lacks", shown(name)))
    }
}

pub(super) fn all(semantic: &Semantic<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, references) in semantic.scoping().root_unresolved_references() {
        for &reference in references {
            let node = semantic.scoping().get_reference(reference).node_id();
            findings.extend(global(semantic, name, node));
        }
    }
    findings.extend(semantic.nodes().iter().filter_map(|node| syntax(semantic, node)));
    findings
}

/// A name that the code itself does not bind.
fn global(semantic: &Semantic<'_>, name: &str, node: NodeId) -> Option<Finding> {
    let nodes = semantic.nodes();
    let at = nodes.kind(node).span().start;
    let user = nodes.parent_kind(node);
    let is_asked_after =
        matches!(user, AstKind::UnaryExpression(unary) if unary.operator == UnaryOperator::Typeof);
    if is_asked_after {
        return surface::differs(name).then(|| Finding::lacking(at, name));
    }
    if !surface::has_global(name) {
        return Some(Finding::lacking(at, name));
    }
    let member = member_of(user, nodes.kind(node).span());
    match (name, member) {
        ("eval", _) => Some(Finding::new(at, "uses eval, which can hide anything")),
        ("Function", _) => {
            makes_code(user).then(|| Finding::new(at, "uses Function, which can hide anything"))
        }
        (_, Some(Member::Named(member))) if GLOBAL_OBJECTS.contains(&name) => {
            surface::differs(member).then(|| Finding::lacking(at, member))
        }
        _ if GLOBAL_OBJECTS.contains(&name) => Some(Finding::new(
            at,
            format!("looks through {name}, which can reach anything"),
        )),
        (_, Some(Member::Named(member))) if surface::lacks_member(name, member) => {
            Some(Finding::lacking(at, &format!("{name}.{member}")))
        }
        _ => None,
    }
}

enum Member<'a> {
    Named(&'a str),
    Computed,
}

/// What `user` takes out of the object at `object`, if it is a member access to it.
fn member_of<'a>(user: AstKind<'a>, object: oxc_span::Span) -> Option<Member<'a>> {
    match user {
        AstKind::StaticMemberExpression(access) if access.object.span() == object => {
            Some(Member::Named(access.property.name.as_str()))
        }
        AstKind::ComputedMemberExpression(access) if access.object.span() == object => {
            Some(match access.static_property_name() {
                Some(name) => Member::Named(name.as_str()),
                None => Member::Computed,
            })
        }
        _ => None,
    }
}

/// `Function('…')`, `new Function('…')`, or handing it on; not `x instanceof Function` and `Function.prototype`.
fn makes_code(user: AstKind<'_>) -> bool {
    !matches!(
        user,
        AstKind::BinaryExpression(binary) if !matches!(binary.operator, BinaryOperator::In)
    ) && !matches!(user, AstKind::StaticMemberExpression(_))
}

fn subtle(semantic: &Semantic<'_>, node: NodeId) -> Option<Finding> {
    let nodes = semantic.nodes();
    let span = nodes.kind(node).span();
    match member_of(nodes.parent_kind(node), span) {
        Some(Member::Named(member)) if !surface::lacks_member("crypto.subtle", member) => None,
        Some(Member::Named(member)) => Some(Finding::lacking(span.start, &format!("crypto.subtle.{member}"))),
        Some(Member::Computed) | None => Some(Finding::new(span.start, SUBTLE_HANDED_ON)),
    }
}

/// What is told by the form of one place.
fn syntax(semantic: &Semantic<'_>, node: &AstNode<'_>) -> Option<Finding> {
    match node.kind() {
        AstKind::ImportExpression(import) => imported(semantic, node, import),
        AstKind::ImportDeclaration(import) => Some(static_import(import.span.start)),
        AstKind::ExportNamedDeclaration(export) if export.source.is_some() => {
            Some(static_import(export.span.start))
        }
        AstKind::ExportAllDeclaration(export) => Some(static_import(export.span.start)),
        AstKind::MetaProperty(meta) if meta.meta.name == "import" => Some(Finding::new(
            meta.span.start,
            "uses import.meta, which tells the runtimes apart",
        )),
        AstKind::StaticMemberExpression(access) => {
            let name = access.property.name.as_str();
            method(semantic, node.id(), name, access.property.span.start)
        }
        AstKind::ComputedMemberExpression(access) => {
            let name = access.static_property_name()?;
            method(semantic, node.id(), name.as_str(), access.expression.span().start)
        }
        AstKind::BindingProperty(property) => {
            let name = property.key.static_name()?;
            if name == "subtle" {
                return Some(Finding::new(property.span.start, SUBTLE_HANDED_ON));
            }
            let is_locale =
                LOCALE_METHODS.contains(&&*name) || LOCALE_METHODS_WITH_ARGUMENTS.contains(&&*name);
            is_locale.then(|| locale(property.span.start, &name))
        }
        _ => None,
    }
}

fn static_import(at: u32) -> Finding {
    Finding::new(at, "imports a module outside of the function")
}

fn locale(at: u32, name: &str) -> Finding {
    Finding::new(
        at,
        format!("uses {name}, which needs the locale data that the isolate lacks"),
    )
}

/// Access to a method whose answer, or whose power, is another one in each runtime.
fn method(semantic: &Semantic<'_>, access: NodeId, name: &str, at: u32) -> Option<Finding> {
    if LOCALE_METHODS.contains(&name) {
        return Some(locale(at, name));
    }
    let user = semantic.nodes().parent_kind(access);
    let span = semantic.nodes().kind(access).span();
    let called_with = match user {
        AstKind::CallExpression(call) if call.callee.span() == span => Some(call.arguments.len()),
        _ => None,
    };
    if LOCALE_METHODS_WITH_ARGUMENTS.contains(&name) && called_with != Some(0) {
        return Some(locale(at, name));
    }
    if name == "subtle" {
        return subtle(semantic, access);
    }
    // `(() => {}).constructor('…')` is Function by another way.
    if name == "constructor" && called_with.is_some_and(|arguments| arguments > 0) {
        return Some(Finding::new(
            at,
            "calls a constructor property, which can hide anything",
        ));
    }
    None
}

fn imported(semantic: &Semantic<'_>, node: &AstNode<'_>, import: &ImportExpression<'_>) -> Option<Finding> {
    let at = import.span.start;
    if import.phase.is_some() {
        return Some(Finding::new(
            at,
            "imports a module in a phase, which the isolate does not parse",
        ));
    }
    let specifier = match &import.source {
        Expression::StringLiteral(text) => text.value.as_str(),
        Expression::TemplateLiteral(text) if text.expressions.is_empty() => text
            .quasis
            .first()
            .and_then(|quasi| quasi.value.cooked.as_ref())?
            .as_str(),
        _ => return Some(Finding::new(at, "imports a module whose name is computed")),
    };
    let Some(module) = surface::module(specifier) else {
        return Some(Finding::new(
            at,
            format!("imports {}, which the isolate lacks", shown(specifier)),
        ));
    };
    let lacking = taken(semantic, node.id())
        .into_iter()
        .filter(|(name, _)| surface::lacks_member(&module, name))
        .min_by_key(|(_, at)| *at);
    lacking.map(|(name, at)| Finding::lacking(at, &format!("{name} of {module}")))
}

/// The members that the code takes out of `import(…)`, as far as they can be told: `(await import(…)).name`,
/// `const { name } = await import(…)` and `const module = await import(…)` with `module.name`.
fn taken(semantic: &Semantic<'_>, import: NodeId) -> Vec<(String, u32)> {
    let nodes = semantic.nodes();
    let mut outer = nodes.parent_id(import);
    while matches!(
        nodes.kind(outer),
        AstKind::AwaitExpression(_) | AstKind::ParenthesizedExpression(_)
    ) {
        outer = nodes.parent_id(outer);
    }
    let mut names = Vec::new();
    match nodes.kind(outer) {
        AstKind::VariableDeclarator(declarator) => bound(semantic, &declarator.id, &mut names),
        kind => {
            if let Some(member) = kind.as_member_expression_kind()
                && let Some(name) = member.static_property_name()
            {
                names.push((name.to_string(), member.span().start));
            }
        }
    }
    names
}

fn bound(semantic: &Semantic<'_>, pattern: &BindingPattern<'_>, names: &mut Vec<(String, u32)>) {
    match pattern {
        BindingPattern::BindingIdentifier(name) => {
            if let Some(symbol) = name.symbol_id.get() {
                used(semantic, symbol, names);
            }
        }
        BindingPattern::ObjectPattern(object) => {
            for property in &object.properties {
                match property.key.static_name() {
                    Some(name) if name == "default" => bound(semantic, &property.value, names),
                    Some(name) => names.push((name.into_owned(), property.span.start)),
                    None => {}
                }
            }
        }
        BindingPattern::ArrayPattern(_) | BindingPattern::AssignmentPattern(_) => {}
    }
}

/// The members of a variable that the code names.
fn used(semantic: &Semantic<'_>, symbol: SymbolId, names: &mut Vec<(String, u32)>) {
    let nodes = semantic.nodes();
    for reference in semantic.scoping().get_resolved_references(symbol) {
        let mut node = reference.node_id();
        loop {
            let span = nodes.kind(node).span();
            match member_of(nodes.parent_kind(node), span) {
                Some(Member::Named("default")) => node = nodes.parent_id(node),
                Some(Member::Named(name)) => {
                    names.push((name.to_owned(), span.start));
                    break;
                }
                Some(Member::Computed) | None => break,
            }
        }
    }
}
