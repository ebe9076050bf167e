# The function, for Terraform or OpenTofu: terraform apply. Values stand in terraform.tfvars.json beside this file.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "function_name" {
  type = string
}

variable "description" {
  type    = string
  default = "A model, packed by anyport"
}

variable "runtime" {
  type    = string
  default = "python3.13"
}

variable "architecture" {
  type    = string
  default = "x86_64"
}

variable "memory_size" {
  type    = number
  default = 512
}

variable "timeout" {
  type    = number
  default = 30
}

variable "output" {
  type        = string
  default     = ""
  description = "Where answers to SQS, Kinesis and S3 go: s3://BUCKET/PREFIX, sqs:QUEUE_URL or kinesis:STREAM"
}

variable "bundle" {
  type        = string
  default     = ""
  description = "s3:// of the bundle, where it does not lie in the package"
}

variable "digest" {
  type    = string
  default = ""
}

variable "url_auth" {
  type        = string
  default     = "AWS_IAM"
  description = "Who may ask the function URL; NONE is everyone"
}

variable "canary" {
  type        = map(number)
  default     = {}
  description = "Version => share of the traffic beside the version that the alias has"
}

data "aws_region" "here" {}

data "aws_caller_identity" "mine" {}

resource "aws_cloudwatch_log_group" "log" {
  name              = "/aws/lambda/${var.function_name}"
  retention_in_days = 30
}

resource "aws_iam_role" "role" {
  name = "${var.function_name}-anyport"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "rights" {
  name = "anyport"
  role = aws_iam_role.role.id
  policy = templatefile("${path.module}/policy.json", {
    Region   = data.aws_region.here.region
    Account  = data.aws_caller_identity.mine.account_id
    Function = var.function_name
  })
}

resource "aws_lambda_function" "model" {
  function_name    = var.function_name
  description      = var.description
  package_type     = "Zip"
  filename         = "${path.module}/function.zip"
  source_code_hash = filebase64sha256("${path.module}/function.zip")
  handler          = "handler.handler"
  runtime          = var.runtime
  architectures    = [var.architecture]
  memory_size      = var.memory_size
  timeout          = var.timeout
  role             = aws_iam_role.role.arn
  publish          = true

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.log.name
  }

  snap_start {
    apply_on = "PublishedVersions"
  }

  environment {
    variables = merge(
      { ORT_DISABLE_TELEMETRY = "1" },
      var.output == "" ? {} : { ANYPORT_OUTPUT = var.output },
      var.bundle == "" ? {} : { ANYPORT_BUNDLE = var.bundle, ANYPORT_DIGEST = var.digest },
    )
  }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.model.function_name
  function_version = aws_lambda_function.model.version

  dynamic "routing_config" {
    for_each = length(var.canary) == 0 ? [] : [var.canary]
    content {
      additional_version_weights = routing_config.value
    }
  }
}

resource "aws_lambda_function_url" "url" {
  function_name      = aws_lambda_function.model.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = var.url_auth
}

output "url" {
  value = aws_lambda_function_url.url.function_url
}
