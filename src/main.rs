fn main() {
    for crd in codeagent_operator::api::crds::all() {
        println!(
            "---\n{}",
            codeagent_operator::api::crds::to_yaml(&crd).unwrap_or_default()
        );
    }
}
