# The function, for Terraform or OpenTofu: terraform apply -var project=… -var region=… -var source_bucket=…
# The other values stand in terraform.tfvars.json beside this file.
terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }
}

variable "project" {
  type = string
}

variable "region" {
  type = string
}

variable "source_bucket" {
  type        = string
  description = "A bucket of yours that the source is put into, for Google to build"
}

variable "name" {
  type = string
}

variable "description" {
  type    = string
  default = "A model, packed by anyport"
}

variable "runtime" {
  type    = string
  default = "python313"
}

variable "memory" {
  type    = string
  default = "512Mi"
}

variable "cpu" {
  type    = string
  default = "1"
}

variable "concurrency" {
  type    = number
  default = 1
}

variable "timeout" {
  type    = number
  default = 60
}

variable "max_instances" {
  type    = number
  default = 20
}

variable "environment" {
  type    = map(string)
  default = {}
}

variable "trigger" {
  type        = string
  default     = ""
  description = "pubsub:TOPIC or storage:BUCKET"
}

variable "output" {
  type        = string
  default     = ""
  description = "Where answers to events go: gs://BUCKET/PREFIX or pubsub:TOPIC"
}

variable "model" {
  type        = string
  default     = ""
  description = "gs:// of the bundle, where it does not lie in the source"
}

variable "invokers" {
  type        = list(string)
  default     = []
  description = "Who may ask the function: user:…, serviceAccount:…; allUsers is everyone"
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  kind    = split(":", var.trigger)[0]
  watched = var.trigger == "" ? "" : trimprefix(var.trigger, "${local.kind}:")
  bucket  = startswith(var.output, "gs://") ? split("/", trimprefix(var.output, "gs://"))[0] : ""
  topic   = startswith(var.output, "pubsub:") ? trimprefix(var.output, "pubsub:") : ""
  bundles = var.model == "" ? "" : split("/", trimprefix(var.model, "gs://"))[0]
}

resource "google_service_account" "function" {
  account_id   = "anyport-${substr(md5(var.name), 0, 12)}"
  display_name = var.description
}

resource "google_storage_bucket_object" "source" {
  bucket = var.source_bucket
  name   = "anyport/${var.name}-${filesha256("${path.module}/function.zip")}.zip"
  source = "${path.module}/function.zip"
}

resource "google_cloudfunctions2_function" "answer" {
  name        = var.name
  location    = var.region
  description = var.description

  build_config {
    runtime     = var.runtime
    entry_point = "answer"
    source {
      storage_source {
        bucket = google_storage_bucket_object.source.bucket
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = var.memory
    available_cpu                    = var.cpu
    max_instance_request_concurrency = var.concurrency
    max_instance_count               = var.max_instances
    timeout_seconds                  = var.timeout
    environment_variables            = var.environment
    service_account_email            = google_service_account.function.email
  }
}

resource "google_cloudfunctions2_function" "event" {
  count       = var.trigger == "" ? 0 : 1
  name        = "${var.name}-event"
  location    = var.region
  description = var.description
  depends_on = [
    google_storage_bucket_iam_member.output, google_pubsub_topic_iam_member.output,
    google_project_iam_member.receives, google_storage_bucket_iam_member.watched,
  ]

  build_config {
    runtime     = var.runtime
    entry_point = "event"
    source {
      storage_source {
        bucket = google_storage_bucket_object.source.bucket
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = var.memory
    available_cpu                    = var.cpu
    max_instance_request_concurrency = var.concurrency
    max_instance_count               = var.max_instances
    timeout_seconds                  = var.timeout
    environment_variables            = merge(var.environment, { GOOGLE_CLOUD_PROJECT = var.project })
    service_account_email            = google_service_account.function.email
  }

  event_trigger {
    trigger_region        = var.region
    event_type            = local.kind == "pubsub" ? "google.cloud.pubsub.topic.v1.messagePublished" : "google.cloud.storage.object.v1.finalized"
    pubsub_topic          = local.kind != "pubsub" ? null : strcontains(local.watched, "/") ? local.watched : "projects/${var.project}/topics/${local.watched}"
    retry_policy          = "RETRY_POLICY_RETRY"
    service_account_email = google_service_account.function.email

    dynamic "event_filters" {
      for_each = local.kind == "storage" ? [local.watched] : []
      content {
        attribute = "bucket"
        value     = event_filters.value
      }
    }
  }
}

resource "google_cloud_run_service_iam_member" "invokers" {
  for_each = toset(var.invokers)
  location = var.region
  service  = google_cloudfunctions2_function.answer.name
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_cloud_run_service_iam_member" "events" {
  count    = var.trigger == "" ? 0 : 1
  location = var.region
  service  = google_cloudfunctions2_function.event[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.function.member
}

resource "google_project_iam_member" "receives" {
  count   = var.trigger == "" ? 0 : 1
  project = var.project
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.function.member
}

resource "google_storage_bucket_iam_member" "watched" {
  count  = local.kind == "storage" ? 1 : 0
  bucket = local.watched
  role   = "roles/storage.objectViewer"
  member = google_service_account.function.member
}

resource "google_storage_bucket_iam_member" "output" {
  count  = local.bucket == "" ? 0 : 1
  bucket = local.bucket
  role   = "roles/storage.objectUser"
  member = google_service_account.function.member
}

resource "google_storage_bucket_iam_member" "model" {
  count  = local.bundles == "" ? 0 : 1
  bucket = local.bundles
  role   = "roles/storage.objectViewer"
  member = google_service_account.function.member
}

resource "google_pubsub_topic_iam_member" "output" {
  count  = local.topic == "" ? 0 : 1
  topic  = local.topic
  role   = "roles/pubsub.publisher"
  member = google_service_account.function.member
}

output "url" {
  value = google_cloudfunctions2_function.answer.service_config[0].uri
}
