/** Checks resources against the schemas of Kubernetes and of KEDA. */
import { ScaledObject, TriggerAuthentication } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import { Deployment } from 'kubernetes-models/apps/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigMap, Service } from 'kubernetes-models/v1';
import type { Resource } from './chart.js';

interface Model {
  validate(): void;
}
const models = [ConfigMap, Deployment, PodDisruptionBudget, ScaledObject, Service, TriggerAuthentication].map(
  (model) => model as unknown as { readonly apiVersion: string; readonly kind: string; new (data: unknown): Model },
);

/** What is wrong with a resource, none if nothing: what breaks its schema, and each field that its schema does not know. */
export function problemsOf(resource: Resource): readonly string[] {
  const Model = models.find(({ apiVersion, kind }) => apiVersion === resource.apiVersion && kind === resource.kind);
  if (Model === undefined) return [`there is no schema of ${resource.apiVersion} ${resource.kind}`];
  const read = new Set<string>();
  const broken: string[] = [];
  try {
    (watched(new Model(resource), '', read) as Model).validate();
  } catch (error) {
    broken.push((error as Error).message);
  }
  const unknown = fieldsIn(resource, '').filter((path) => !read.has(path));
  return [...broken, ...unknown.map((path) => `${path} is no field`)];
}

/** The schemas are code that looks at each field it knows and passes over others, which the API server would refuse or drop. */
function watched(value: unknown, path: string, read: Set<string>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return new Proxy(value, {
    get(target, field) {
      const found = Reflect.get(target, field) as unknown;
      if (typeof field === 'symbol' || !Object.hasOwn(target, field)) return found;
      read.add(`${path}/${field}`);
      return watched(found, `${path}/${field}`, read);
    },
  });
}

const fieldsIn = (value: unknown, path: string): readonly string[] =>
  typeof value !== 'object' || value === null
    ? []
    : Object.entries(value).flatMap(([field, inner]) => [`${path}/${field}`, ...fieldsIn(inner, `${path}/${field}`)]);
