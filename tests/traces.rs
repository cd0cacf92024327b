//! `rr-patch traces`, and rr's trace store by rr's own rules.

use std::fs;
use std::path::{Path, PathBuf};

use rr_patch::trace::Store;

fn root(variables: &[(&str, &str)]) -> PathBuf {
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    Store::of(&variable).root().to_owned()
}

#[test]
fn traces_are_looked_for_where_rr_has_its_store() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let (set, data) = (("HOME", home.path().to_str().unwrap()), at("data"));
    let data = ("XDG_DATA_HOME", data.to_str().unwrap());
    assert_eq!(root(&[]), Path::new("/tmp/rr"));
    assert_eq!(root(&[set]), at(".local/share/rr"));
    fs::create_dir(at(".rr")).unwrap();
    assert_eq!(root(&[set]), at(".rr"), "an old store, and no new one");
    assert_eq!(root(&[set, data]), at(".rr"));
    fs::create_dir_all(at("data/rr")).unwrap();
    assert_eq!(root(&[set, data]), at("data/rr"));
    assert_eq!(root(&[set, ("_RR_TRACE_DIR", "/x/y")]), Path::new("/x/y"));
    assert_eq!(root(&[("XDG_DATA_HOME", "")]), Path::new("/rr"), "as rr joins them");
}
