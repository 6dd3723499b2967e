//! The commands that scripts use.

use std::process::Command;

#[test]
fn a_command_finds_a_server_beside_it_and_passes_its_exit_code_on() {
    let script = "psql -X -A -t -q -c 'SELECT 6 * 7' \"$TENANTRY_TEST_DATABASE\" && exit 3";

    let output = Command::new(env!("CARGO_BIN_EXE_with-postgres"))
        .args(["sh", "-c", script])
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((said.trim(), output.status.code()), ("42", Some(3)), "{output:?}");
}
