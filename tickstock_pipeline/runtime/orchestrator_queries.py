"""What we ask of the orchestrator, in GraphQL; :mod:`tickstock_pipeline.runtime.orchestrator` says what for."""

WORKSPACE = """
query {
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries { name loadStatus locationOrLoadError { __typename ... on PythonError { message } } }
    }
    ... on PythonError { message }
  }
}"""
PARTITIONS = """
query ($keys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $keys) { partitionKeysByDimension { name partitionKeys } }
}"""
ADD_PARTITION = """
mutation ($repository: RepositorySelector!, $name: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name, partitionKey: $key) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}"""
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}"""
BACKFILL = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill {
      status
      error { message }
      assetBackfillData {
        assetBackfillStatuses {
          ... on AssetPartitionsStatusCounts {
            assetKey { path }
            numPartitionsTargeted
            numPartitionsInProgress
            numPartitionsMaterialized
            numPartitionsFailed
          }
        }
      }
    }
    ... on PythonError { message }
  }
}"""
MATERIALIZED = """
query ($keys: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $keys) { assetKey { path } partitionStats { numMaterialized } }
}"""
ACTIVE_BACKFILLS = """
query {
  partitionBackfillsOrError(filters: { statuses: [REQUESTED] }, limit: 100) {
    __typename
    ... on PartitionBackfills { results { id tags { key value } } }
    ... on PythonError { message }
  }
}"""
CANCEL_BACKFILL = """
mutation ($id: String!) {
  cancelPartitionBackfill(backfillId: $id) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}"""
ACTIVE_RUNS = """
query ($tags: [ExecutionTag!]!) {
  runsOrError(filter: { statuses: [STARTING, STARTED, CANCELING], tags: $tags }, limit: 1000) {
    __typename
    ... on Runs { results { id status tags { key value } } }
    ... on PythonError { message }
  }
}"""
END_RUNS = """
mutation ($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
    __typename
    ... on PythonError { message }
  }
}"""
BACKFILL_PARTITIONS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { partitionNames assetSelection { path } }
    ... on PythonError { message }
  }
}"""
