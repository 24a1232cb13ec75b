//! A theme from its text.

use super::Theme;
use crate::tui::sources::{Source, Sources, Value, did_you_mean, in_order, parse, table, word};
use ratatui::style::{Color, Modifier, Style};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// The themes that are built in.
const BUILT_IN: &[(&str, &str)] = &[
    ("dark", include_str!("../../../themes/dark.toml")),
    ("light", include_str!("../../../themes/light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("colour-blind", include_str!("../../../themes/colour-blind.toml")),
    ("sixteen", include_str!("../../../themes/sixteen.toml")),
    ("gruvbox", include_str!("../../../themes/gruvbox.toml")),
    ("catppuccin", include_str!("../../../themes/catppuccin.toml")),
];

/// The terminal's own colours by name.
const SIXTEEN: [(&str, Color); 16] = [
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("white", Color::Gray),
    ("bright-black", Color::DarkGray),
    ("bright-red", Color::LightRed),
    ("bright-green", Color::LightGreen),
    ("bright-yellow", Color::LightYellow),
    ("bright-blue", Color::LightBlue),
    ("bright-magenta", Color::LightMagenta),
    ("bright-cyan", Color::LightCyan),
    ("bright-white", Color::White),
];

/// The themes that there are, with the operator's own.
pub fn sources(own: BTreeMap<String, Source>) -> Sources {
    Sources::new("theme", BUILT_IN, own)
}

/// How a role is written; colours are looked up when all palettes are known.
#[derive(Debug, Clone, Default)]
struct Written {
    fg: Option<Named>,
    bg: Option<Named>,
    modifiers: Modifier,
}

/// A colour as it is written, and where.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    source: Source,
    span: std::ops::Range<usize>,
}

/// Reads a theme with all that it inherits.
///
/// # Errors
/// What is wrong, in which file and line, and what is near.
pub fn load(name: &str, sources: &Sources) -> Result<Theme, String> {
    let mut palette: BTreeMap<String, Color> = BTreeMap::new();
    let mut roles: BTreeMap<&'static str, Written> = BTreeMap::new();
    let chain = sources.chain(name)?;
    for source in &chain {
        read(source, &mut palette, &mut roles)?;
    }
    let mut theme = Theme::plain();
    let place = chain.last().map(|source| source.place.as_str()).unwrap_or_default();
    for role in Theme::ROLES {
        let written = roles.get(role).ok_or_else(|| format!("{place}: it has no role {role}, and inherits none"))?;
        let colour = |named: &Option<Named>| named.as_ref().map(|named| look_up(named, &palette)).transpose();
        let mut style = Style::new().add_modifier(written.modifiers);
        (style.fg, style.bg) = (colour(&written.fg)?, colour(&written.bg)?);
        theme.set(role, style);
    }
    Ok(theme)
}

fn read(
    source: &Source,
    palette: &mut BTreeMap<String, Color>,
    roles: &mut BTreeMap<&'static str, Written>,
) -> Result<(), String> {
    let document = parse(source)?;
    for (name, value) in in_order(&document) {
        match name.get_ref().as_ref() {
            "inherits" => {}
            "palette" => {
                for (name, value) in in_order(table(source, value, "palette")?) {
                    let written = word(source, value, name.get_ref())?;
                    let colour = hex(written).ok_or_else(|| {
                        source.at(&value.span(), &format!("{written:?} is no colour: write \"#rrggbb\""))
                    })?;
                    palette.insert(name.get_ref().to_string(), colour);
                }
            }
            "roles" => {
                for (name, value) in in_order(table(source, value, "roles")?) {
                    let role = Theme::ROLES.into_iter().find(|role| role == name.get_ref()).ok_or_else(|| {
                        let hint = did_you_mean(name.get_ref(), Theme::ROLES);
                        source.at(&name.span(), &format!("{} is no role{hint}", name.get_ref()))
                    })?;
                    roles.insert(role, written(source, value)?);
                }
            }
            other => {
                let hint = did_you_mean(other, ["inherits", "palette", "roles"]);
                return Err(source.at(&name.span(), &format!("{other} means nothing in a theme{hint}")));
            }
        }
    }
    Ok(())
}

/// `"green"`, or `{ fg = "green", bg = "#101010", bold = true }`.
fn written(source: &Source, value: &Value<'_>) -> Result<Written, String> {
    let named =
        |value: &Value<'_>, name: &str| Named { name: name.to_owned(), source: source.clone(), span: value.span() };
    if let DeValue::String(name) = value.get_ref() {
        return Ok(Written { fg: Some(named(value, name)), ..Written::default() });
    }
    let DeValue::Table(fields) = value.get_ref() else {
        return Err(source.at(&value.span(), "a role is a colour, or { fg = \"...\", bg = \"...\", bold = true }"));
    };
    let mut role = Written::default();
    for (name, value) in in_order(fields) {
        let modifier = match name.get_ref().as_ref() {
            "fg" => {
                role.fg = Some(named(value, word(source, value, "fg")?));
                continue;
            }
            "bg" => {
                role.bg = Some(named(value, word(source, value, "bg")?));
                continue;
            }
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underlined" => Modifier::UNDERLINED,
            "reversed" => Modifier::REVERSED,
            other => {
                let known = ["fg", "bg", "bold", "dim", "italic", "underlined", "reversed"];
                let why = format!("{other} means nothing in a role{}", did_you_mean(other, known));
                return Err(source.at(&name.span(), &why));
            }
        };
        match value.get_ref() {
            DeValue::Boolean(true) => role.modifiers |= modifier,
            DeValue::Boolean(false) => role.modifiers -= modifier,
            _ => return Err(source.at(&value.span(), &format!("{} is true or false", name.get_ref()))),
        }
    }
    Ok(role)
}

fn look_up(named: &Named, palette: &BTreeMap<String, Color>) -> Result<Color, String> {
    let own = palette.get(&named.name).copied();
    let sixteen = || SIXTEEN.iter().find(|(name, _)| *name == named.name).map(|(_, colour)| *colour);
    own.or_else(|| hex(&named.name)).or_else(sixteen).ok_or_else(|| {
        let known = palette.keys().map(String::as_str).chain(SIXTEEN.iter().map(|(name, _)| *name));
        let why = format!("{:?} is no colour of the palette{}", named.name, did_you_mean(&named.name, known));
        named.source.at(&named.span, &why)
    })
}

fn hex(text: &str) -> Option<Color> {
    let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let part = |i: usize| u8::from_str_radix(digits.get(i..i + 2)?, 16).ok();
    Some(Color::Rgb(part(0)?, part(2)?, part(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str) -> Result<Theme, String> {
        let source = Source { place: "mine.toml".into(), text: text.into() };
        load("mine", &sources([("mine".to_owned(), source)].into()))
    }

    /// WCAG 2.2, "contrast ratio" and "relative luminance" (<https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio>).
    fn contrast(a: Color, b: Color) -> f64 {
        let luminance = |colour: Color| {
            let Color::Rgb(r, g, b) = colour else { panic!("{colour:?} is no true colour") };
            let part = |c: u8| match f64::from(c) / 255.0 {
                c if c <= 0.04045 => c / 12.92,
                c => ((c + 0.055) / 1.055).powf(2.4),
            };
            0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_role_of_every_true_colour_theme_can_be_read() {
        let all = sources(BTreeMap::new());
        let mut seen = 0;
        for name in all.names().into_iter().filter(|name| name != "sixteen") {
            let theme = load(&name, &all).unwrap();
            let ground = theme.get("background");
            for role in Theme::ROLES {
                let style = theme.get(role);
                let (fg, bg) = (style.fg.or(ground.fg).unwrap(), style.bg.or(ground.bg).unwrap());
                let ratio = contrast(fg, bg);
                assert!(ratio >= 4.5, "{name}: {role} has a contrast of {ratio:.2}");
                seen += 1;
            }
        }
        assert_eq!(seen, 6 * Theme::ROLES.len());
        assert!((contrast(Color::Rgb(0, 0, 0), Color::Rgb(255, 255, 255)) - 21.0).abs() < 0.01);
    }

    #[test]
    fn a_theme_inherits_palette_and_roles() {
        let theme = own(
            "inherits = \"dark\"\n[palette]\ngreen = \"#00ff00\"\n[roles]\ndim = { fg = \"blue\", italic = true }\n",
        );
        let theme = theme.unwrap();
        assert_eq!(theme.good, Style::new().fg(Color::Rgb(0, 255, 0)), "the role is inherited, its colour is not");
        assert_eq!(theme.dim, Style::new().fg(Color::Blue).add_modifier(Modifier::ITALIC));
        assert_eq!(theme.head, load("dark", &sources(BTreeMap::new())).unwrap().head);
    }

    #[test]
    fn what_is_wrong_is_one_error_with_its_line() {
        for (text, why) in [
            ("[palette]\ngreen = \"red\"\n", "line 3: \"red\" is no colour: write \"#rrggbb\""),
            ("[roles]\ngood = \"gren\"\n", "line 3: \"gren\" is no colour of the palette; did you mean green?"),
            ("[roles]\ngod = \"green\"\n", "line 3: god is no role; did you mean good?"),
            ("[roles]\ngood = { fgg = \"green\" }\n", "line 3: fgg means nothing in a role; did you mean fg?"),
            ("[roles]\ngood = { bold = 1 }\n", "line 3: bold is true or false"),
            ("[roles]\ngood = 3\n", "line 3: a role is a colour"),
            ("[role]\n", "line 2: role means nothing in a theme; did you mean roles?"),
        ] {
            let error = own(&format!("inherits = \"dark\"\n{text}")).unwrap_err();
            assert!(error.starts_with("mine.toml") && error.contains(why), "{text}: {error}");
        }
        assert!(own("[roles]\n").unwrap_err().contains("it has no role background, and inherits none"));
    }

    #[test]
    fn the_sample_in_the_examples_is_right() {
        let theme = own(include_str!("../../../examples/theme.toml")).unwrap();
        assert_eq!(theme.good.fg, Some(Color::Rgb(0x5f, 0xd7, 0xaf)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_theme_or_an_error(text in "\\PC{0,80}", more in "(\\[roles\\]|\\[palette\\]|good|fg|=|\"|\n|#0f0|\\{|\\}| ){0,20}") {
            let _ = (own(&text), own(&more), own(&format!("inherits = \"light\"\n[roles]\n{more}")));
        }
    }
}
