//! A Job that ran to its end and is deleted by its TTL does not run again, until Git has another one.

use harness::wait_until;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{PATIENCE, World};

fn job(world: &World, image: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: migrate, namespace: {}}}\nspec:\n  \
         ttlSecondsAfterFinished: 1\n  template:\n    spec:\n      restartPolicy: Never\n      \
         containers: [{{name: run, image: '{image}'}}]\n",
        world.namespace
    )
}

impl World {
    /// Lets the Job's Pods succeed, as a kubelet would, until the Job is gone. Until then it does not end.
    async fn job_runs_and_goes(&self) {
        let uid = wait_until("the Job is there", PATIENCE, async || {
            let job = self.api::<Job>().get_opt("migrate").await.map_err(|e| e.to_string())?;
            job.and_then(|job| job.uid()).ok_or_else(|| "none".to_owned())
        })
        .await
        .unwrap();
        wait_until("the Job ran and its TTL deleted it", PATIENCE, async || {
            let pods = self.api::<Pod>();
            for pod in pods.list(&ListParams::default().labels("job-name=migrate")).await.map_err(|e| e.to_string())? {
                let succeeded = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
                let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &succeeded).await;
            }
            match self.api::<Job>().get_opt("migrate").await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(job) => {
                    assert_eq!(job.uid().as_ref(), Some(&uid), "the Job runs again");
                    Err(format!("{:?}", job.status))
                }
            }
        })
        .await
        .unwrap();
    }

    /// Waits until the Sync is healthy at a commit, and says so of nothing else than this many objects.
    async fn healthy_at(&self, commit: &str, count: usize) {
        self.ready_at(commit).await;
        wait_until(&format!("{count} objects are healthy"), PATIENCE, async || {
            let healthy = self.healthy().await;
            let wanted = ("True".to_owned(), format!("{count} healthy"));
            if healthy == wanted { Ok(()) } else { Err(format!("{healthy:?}")) }
        })
        .await
        .unwrap();
    }

    /// What passes after this moment have not brought the Job back.
    async fn job_stays_gone(&self, value: &str) {
        self.meddle("a", "some-editor", value).await;
        self.applied("a", "1").await;
        self.event("DriftReverted", &[&format!("{value:?} instead of")]).await;
        assert!(self.api::<Job>().get_opt("migrate").await.unwrap().is_none(), "the Job ran again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_runs_again_only_when_git_has_another() {
    let mut world = World::new("jobs").await;
    let files = [("a.yaml", world.config_map("a", "1")), ("job.yaml", job(&world, "run.test/run:1"))];
    let first = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    world.sync().await;
    world.ready_at(&first).await;
    world.job_runs_and_goes().await;
    world.job_stays_gone("2").await;
    let entries = world.inventory().await.unwrap().spec.entries;
    assert!(
        entries.iter().any(|line| line.contains("_migrate_batch_Job ") && line.ends_with(" finished")),
        "{entries:?}"
    );

    world.agent.kill();
    world.agent.resume().unwrap();
    world.job_stays_gone("3").await;

    world.listening().await;
    let second = world.push(&[("job.yaml", &job(&world, "run.test/run:2"))]).await;
    world.ready_at(&second).await;
    world.job_runs_and_goes().await;
    world.job_stays_gone("4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_that_is_gone_is_not_waited_for() {
    let mut world = World::new("jobs-waited").await;
    let files = [("a.yaml", world.config_map("a", "1")), ("job.yaml", job(&world, "run.test/run:1"))];
    let commit = world.repo.commit(&files.each_ref().map(|(path, text)| (*path, text.as_str()))).await.unwrap();
    let check = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "migrate"});
    world.sync_with(json!({}), json!({"wait": true, "healthChecks": [check]})).await;
    world.waits_for("/migrate (").await;
    world.job_runs_and_goes().await;
    world.healthy_at(&commit, 1).await;
    world.job_stays_gone("2").await;
    world.healthy_at(&commit, 1).await;

    world.agent.kill();
    world.agent.resume().unwrap();
    world.job_stays_gone("3").await;
    world.healthy_at(&commit, 1).await;
}
