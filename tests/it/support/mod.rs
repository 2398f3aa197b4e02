//! What the tests have in common.

pub mod kubelet;
pub mod operator;
pub mod world;

/// Makes of each specification one test per provider.
macro_rules! for_each_provider {
    ($($specification:ident),+ $(,)?) => {
        $(mod $specification {
            use codeagent_simulator::Provider;

            #[tokio::test]
            async fn cursor() {
                super::$specification(Provider::Cursor).await;
            }

            #[tokio::test]
            async fn firebender() {
                super::$specification(Provider::Firebender).await;
            }

            #[tokio::test]
            async fn flapjack() {
                super::$specification(Provider::Flapjack).await;
            }
        })+
    };
}
pub(crate) use for_each_provider;
