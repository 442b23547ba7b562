//! The example that a reader tries first is valid, and places what it describes.

use flocker_manifest::{Manifest, ParseOptions, RenderStyle, Source, combine, parse, render_all};

fn read(name: &str) -> Manifest {
    let path = format!("{}/../../examples/shop/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    match parse(&Source::new(name, text), &ParseOptions::default()) {
        Ok(parsed) if parsed.warnings.is_empty() => parsed.manifest,
        Ok(parsed) => panic!("{}", render_all(&parsed.warnings, RenderStyle::Plain)),
        Err(errors) => panic!("{}", render_all(&errors, RenderStyle::Plain)),
    }
}

#[test]
fn the_shop_is_valid_with_and_without_its_placement() {
    let Manifest::Application(shop) = read("shop.yml") else {
        panic!("shop.yml is not an application");
    };
    let Manifest::Deployment(servers) = read("servers.yml") else {
        panic!("servers.yml is not a deployment");
    };
    for servers in [None, Some(&servers)] {
        combine(std::slice::from_ref(&shop), servers).unwrap();
    }
}
