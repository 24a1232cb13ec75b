//! How the operator wants the cockpit: flags, environment, `config.toml`, and files of the operator's own beside it.

use super::args::Global;
use super::failure::Failure;
use super::{output, places};
use crate::fleet::clean;
use crate::tui::{Looks, Own, Source};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::Path;

/// Bytes of a theme or keymap: far more than any needs.
const LONGEST: u64 = 256 * 1024;

/// What `config.toml` can say. Every field has a default.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    theme: Option<String>,
    keymap: Option<String>,
    ascii: bool,
    mouse: Option<bool>,
}

/// How the cockpit looks, and its keys.
///
/// # Errors
/// Exit 2: a file or a name that cannot be used, and why.
pub(super) fn looks(global: &Global) -> Result<Looks, Failure> {
    // Without a home there are no files of one's own.
    let dir = places::config_dir().ok();
    choose(global, dir.as_deref(), |name| std::env::var_os(name))
}

fn choose(global: &Global, dir: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<Looks, Failure> {
    let text = |name: &str| env(name).and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty());
    let settings = dir.map(|dir| read(&dir.join("config.toml"))).transpose()?.unwrap_or_default();
    let own = |folder: &str| dir.map(|dir| files(&dir.join(folder))).transpose().map(Option::unwrap_or_default);
    let mut looks = Looks::new(own("themes")?, own("keymaps")?);
    let colourless = text("NO_COLOR").is_some();
    let true_colour = text("COLORTERM").is_some_and(|v| v == "truecolor" || v == "24bit");
    let usual = if true_colour { "dark" } else { "sixteen" };
    // A flag is meant for this very time; NO_COLOR stands over what is kept (https://no-color.org).
    looks.theme = match &global.theme {
        Some(name) => Some(name.clone()),
        None if colourless => None,
        None => Some(text("SONOBA_THEME").or(settings.theme).unwrap_or_else(|| usual.into())),
    };
    let keymap = global.keymap.clone().or_else(|| text("SONOBA_KEYMAP")).or(settings.keymap);
    looks.keymap = keymap.unwrap_or_else(|| "default".into());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text);
    let narrow = locale.is_some_and(|l| !["utf-8", "utf8"].iter().any(|u| l.to_ascii_lowercase().contains(u)));
    looks.ascii = global.ascii || settings.ascii || narrow;
    looks.mouse = settings.mouse.unwrap_or(true);
    looks.check().map_err(Failure::usage)?;
    Ok(looks)
}

fn read(path: &Path) -> Result<Settings, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
    };
    parse(&Source { place: path.display().to_string(), text }).map_err(Failure::usage)
}

/// Reads the text of `config.toml`.
///
/// # Errors
/// In words, with the line.
fn parse(source: &Source) -> Result<Settings, String> {
    toml::from_str(&source.text).map_err(|error| source.at(&error.span().unwrap_or(0..0), error.message()))
}

/// Whether a text can be `config.toml`; for fuzzers.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(&Source { place: "config.toml".into(), text: text.to_owned() }).map(drop)
}

/// The TOML files of a folder, by name; none where there is no folder.
fn files(folder: &Path) -> Result<Own, Failure> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let mut own = Own::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|s| s.to_str()).filter(|s| clean(s) == *s) else { continue };
        if entry.metadata().map_err(|e| failed(&path, &e))?.len() > LONGEST {
            return Err(failed(&path, &format!("longer than {} KiB", LONGEST / 1024)));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, &e))?;
        own.insert(name.to_owned(), Source { place: path.display().to_string(), text });
    }
    Ok(own)
}

/// Keeps one setting in `config.toml`; the other lines stay as they are.
///
/// # Errors
/// In words, when it cannot be read or written. The file is as before then.
pub(super) fn remember(key: &str, value: &str) -> Result<(), String> {
    let dir = places::config_dir().map_err(|failure| failure.text)?;
    keep(&dir, key, value)
}

fn keep(dir: &Path, key: &str, value: &str) -> Result<(), String> {
    let path = dir.join("config.toml");
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(&error)),
    };
    let mut document: toml_edit::DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| failed(&e.message()))?;
    match document.get_mut(key).and_then(toml_edit::Item::as_value_mut) {
        // What stands beside it, for instance a comment, stays there.
        Some(old) => {
            let decor = old.decor().clone();
            *old = value.into();
            *old.decor_mut() = decor;
        }
        None => document[key] = toml_edit::value(value),
    }
    std::fs::create_dir_all(dir).map_err(|e| failed(&e))?;
    output::write(&path, document.to_string().as_bytes()).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(global: &Global, dir: &Path, env: &[(&str, &str)]) -> Result<Looks, String> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        choose(global, Some(dir), env).map_err(|failure| failure.text)
    }

    #[test]
    fn flags_stand_over_the_environment_and_that_over_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let theme = |global: &Global, env: &[(&str, &str)]| with(global, dir.path(), env).unwrap().theme;
        let none = Global::default();
        let named = Global { theme: Some("light".into()), ..Global::default() };
        assert_eq!(theme(&none, &[]).as_deref(), Some("sixteen"));
        assert_eq!(theme(&none, &[("COLORTERM", "truecolor")]).as_deref(), Some("dark"));
        keep(dir.path(), "theme", "gruvbox").unwrap();
        assert_eq!(theme(&none, &[]).as_deref(), Some("gruvbox"));
        assert_eq!(theme(&none, &[("SONOBA_THEME", "catppuccin")]).as_deref(), Some("catppuccin"));
        assert_eq!(theme(&none, &[("NO_COLOR", "1"), ("SONOBA_THEME", "dark")]), None);
        assert_eq!(theme(&none, &[("NO_COLOR", "")]).as_deref(), Some("gruvbox"));
        assert_eq!(theme(&named, &[("NO_COLOR", "1")]).as_deref(), Some("light"));
        let ascii = |env: &[(&str, &str)]| with(&none, dir.path(), env).unwrap().ascii;
        assert!(ascii(&[("LANG", "C")]) && ascii(&[("LC_ALL", "POSIX"), ("LANG", "en_GB.UTF-8")]));
        assert!(!ascii(&[("LC_ALL", ""), ("LANG", "en_GB.utf8")]) && !ascii(&[]));
    }

    #[test]
    fn a_setting_is_kept_and_the_other_lines_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "# mine\nkeymap = \"vim\" # h j k l\ntheme = \"dark\" # calm\n").unwrap();
        keep(dir.path(), "theme", "light").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# mine\nkeymap = \"vim\" # h j k l\ntheme = \"light\" # calm\n");
        std::fs::write(&path, "theme = ").unwrap();
        assert!(keep(dir.path(), "theme", "light").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theme = ", "nothing lost");
    }

    #[test]
    fn what_is_wrong_is_one_error_that_names_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let none = Global::default();
        let wrong = |name: &str, text: &str, global: &Global| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let error = with(global, dir.path(), &[]).unwrap_err();
            std::fs::remove_file(&path).unwrap();
            error
        };
        let error = wrong("config.toml", "theme = \"dark\"\nthem = \"light\"\n", &none);
        assert!(error.contains("config.toml, line 2: unknown field `them`"), "{error}");
        let mine = Global { keymap: Some("mine".into()), ..Global::default() };
        let error = wrong("keymaps/mine.toml", "inherits = \"default\"\n[run]\np = \"paus\"\n", &mine);
        assert!(error.contains("keymaps/mine.toml, line 3: \"paus\" is no command; did you mean pause?"), "{error}");
        let error = wrong("config.toml", "theme = \"darkest\"\n", &none);
        assert!(error.contains("there is no theme \"darkest\"; there are: dark, light"), "{error}");
        // A file that nobody chose harms nobody.
        std::fs::create_dir_all(dir.path().join("themes")).unwrap();
        std::fs::write(dir.path().join("themes/broken.toml"), "[roles\n").unwrap();
        assert!(with(&none, dir.path(), &[]).is_ok());
    }
}
