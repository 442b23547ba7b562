//! Images: what they expose, and how they get to another engine.

use crate::world::{World, config, within};
use flocker_runtime::test_engine::{TestEngine, TestImage};
use flocker_runtime::{Docker, ImageInfo, Runtime, RuntimeErrorKind};
use std::io::Cursor;
use tokio::io::AsyncReadExt;

pub(crate) async fn ports_are_read(world: &World) {
    let image = TestImage {
        repository: "flocker-test-web",
        tag: "2",
        instructions: &["EXPOSE 8080/tcp", "EXPOSE 53/udp", "EXPOSE 80"],
    };
    let made = world.engine.make_image(image).await.unwrap();
    let expected = Some(ImageInfo {
        id: made.id.clone(),
        exposed_ports: vec![80, 8080],
    });
    for reference in ["flocker-test-web:2", &made.id] {
        assert_eq!(world.docker.image(reference).await.unwrap(), expected);
    }
    assert_eq!(
        world.docker.image("flocker-test-web:3").await.unwrap(),
        None
    );
}

/// By name and by id; it keeps its id and its tag, and a broken stream brings nothing.
pub(crate) async fn an_image_travels_to_another_engine(world: &World) {
    let other = TestEngine::start().await.unwrap();
    let target = Docker::connect(config(&other, world.cluster))
        .await
        .unwrap();
    assert_eq!(target.image(&world.image.id).await.unwrap(), None);

    let mut whole = Vec::new();
    let mut tar = world.docker.export_image(&world.image.id).await.unwrap();
    tar.read_to_end(&mut whole).await.unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let broken = target.import_image(Box::new(Cursor::new(half))).await;
    let error = broken.unwrap_err();
    assert!(
        !matches!(error.kind, RuntimeErrorKind::TimedOut { .. }),
        "{error}"
    );
    assert_eq!(target.image(&world.image.id).await.unwrap(), None);

    for _ in 0..2 {
        let tar = world.docker.export_image("flocker-test:1").await.unwrap();
        within("the import", target.import_image(tar))
            .await
            .unwrap();
        let there = target.image(&world.image.id).await.unwrap();
        let here = world.docker.image(&world.image.id).await.unwrap();
        assert!(here.is_some());
        assert_eq!(there, here);
        assert_eq!(target.image("flocker-test:1").await.unwrap(), here);
    }
}
