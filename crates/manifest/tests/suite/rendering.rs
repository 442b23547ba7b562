//! How diagnostics look on a terminal and in a log.

use crate::suite::support::parse_text;
use flocker_manifest::{RenderStyle, render_all};

const TEXT: &str = "version: 1\napplications:\n  web:\n    imgae: nginx\n    ports: [80]\n";

#[test]
fn plain() {
    let found = parse_text(TEXT).unwrap_err();
    assert_eq!(
        render_all(&found, RenderStyle::Plain),
        "\
f.yml:3:3: error: the key 'image' is missing
3 |   web:
  |   ^^^
hint: write 'image: repository:tag'

f.yml:4:5: error: the application 'web' has no key 'imgae'
4 |     imgae: nginx
  |     ^^^^^
hint: did you mean 'image'?

f.yml:5:13: error: a port must be a mapping ('key: value'), not the number 80
5 |     ports: [80]
  |             ^^
hint: write '- internal: 80' and, below it, '  external: 8080'; [] for none
"
    );
}

#[test]
fn coloured() {
    let found = parse_text(TEXT).unwrap_err();
    assert_eq!(
        found[1].render(RenderStyle::Coloured),
        "\u{1b}[1mf.yml:4:5:\u{1b}[0m \u{1b}[1;31merror:\u{1b}[0m \u{1b}[1mthe application 'web' \
         has no key 'imgae'\u{1b}[0m\n\
         \u{1b}[2m4 |\u{1b}[0m     imgae: nginx\n\
         \u{1b}[2m  |\u{1b}[0m     \u{1b}[1;31m^^^^^\u{1b}[0m\n\
         \u{1b}[1mhint:\u{1b}[0m did you mean 'image'?\n"
    );
}

#[test]
fn a_very_long_line_is_shown_around_the_place() {
    let text = "version: 1\napplications: {b: {image: x}, a: 5}\n";
    let long = text.replace(
        "b: {image: x}",
        &format!(
            "b: {{image: x, environment: {{A: {:?}}}}}",
            "y".repeat(5000)
        ),
    );
    let found = parse_text(&long).unwrap_err();
    let one = &found[0];
    assert!(one.column > 5000);
    assert!(one.excerpt.chars().count() <= 160);
    let at = one.column - one.excerpt_column;
    assert_eq!(one.excerpt.chars().nth(at), Some('5'));
}
