//! New volumes begin with what the image has in their place.

use crate::world::{World, within};
use bollard::query_parameters::ListContainersOptionsBuilder;
use flocker_runtime::Runtime;
use flocker_runtime::docker::LABEL_FILL;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) async fn a_new_volume_begins_as_the_image_is_there(world: &World) {
    let directory = |name: &str| -> PathBuf {
        let path = world.engine.shared_directory().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let fill = async |path: &str, directory: &Path| {
        within(
            "the image's files",
            world.docker.fill(&world.image.id, path, directory),
        )
        .await
    };
    let full = directory("filled");
    fill("/bin", &full).await.unwrap();
    let found = names(&full);
    assert!(found.contains(&"busybox".to_owned()), "{found:?}");
    assert_eq!(
        fs::read_link(full.join("sh")).unwrap(),
        Path::new("busybox")
    );
    // Files are the owner's from then on.
    fs::remove_file(full.join("busybox")).unwrap();
    fill("/bin", &full).await.unwrap();
    assert!(!full.join("busybox").exists());
    // No directory there, no files; and one that is empty in the image stays so.
    for path in ["/nowhere/at/all", "/bin/busybox", "/data"] {
        let empty = directory("empty");
        fill(path, &empty).await.unwrap();
        assert_eq!(names(&empty), [""; 0], "{path}");
    }
    let missing = world
        .docker
        .fill("sha256:beef", "/bin", &directory("other"))
        .await;
    assert!(missing.unwrap_err().to_string().contains("fill "));
    let filter = HashMap::from([("label".to_owned(), vec![LABEL_FILL.to_owned()])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filter)
        .build();
    let client = world.engine.client().await.unwrap();
    let left = client.list_containers(Some(options)).await.unwrap();
    assert!(
        left.is_empty(),
        "containers that were made for it are left: {left:?}"
    );
}
