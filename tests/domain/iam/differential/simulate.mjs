// Reads an array of {policy, action, resource, context} from stdin; writes the array of their decisions.
//
// The first argument is the node_modules folder that has @cloud-copilot/iam-simulate. Its published entry points
// check requests against lists of actions and context keys first, and weigh all kinds of policies; what is asked
// here is only what identity policies say, so its engine is called directly, at the version that is locked.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const load = (path) => import(pathToFileURL(join(process.argv[2], '@cloud-copilot', path)).href)
const { loadPolicy } = await load('iam-policy/dist/esm/index.js')
const { analyzeIdentityPolicies } = await load('iam-simulate/dist/esm/core_engine/CoreSimulatorEngine.js')
const { AwsRequestImpl } = await load('iam-simulate/dist/esm/request/request.js')
const { RequestContextImpl } = await load('iam-simulate/dist/esm/requestContext.js')
const { DiscoveryContextKeyConstraints } = await load(
  'iam-simulate/dist/esm/context_keys/discoveryContextKeyConstraints.js'
)

const PARAMETERS = {
  simulationMode: 'Strict',
  discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints([])
}
const DECISIONS = {
  Allowed: 'allowed',
  ImplicitlyDenied: 'implicit deny',
  ExplicitlyDenied: 'explicit deny'
}

function decide({ policy, action, resource, context }) {
  const isForAnyResource = resource === '*'
  const request = new AwsRequestImpl(
    'arn:aws:iam::000000000000:user/ann',
    { resource, accountId: '000000000000' },
    action,
    new RequestContextImpl(context),
    isForAnyResource
  )
  try {
    const { result } = analyzeIdentityPolicies([loadPolicy(policy, { name: 'policy' })], request, PARAMETERS, 'identity')
    return DECISIONS[result]
  } catch (error) {
    return `error: ${error.message}`
  }
}

const cases = JSON.parse(readFileSync(0, 'utf8'))
process.stdout.write(JSON.stringify(cases.map(decide)))
