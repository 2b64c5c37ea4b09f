/**
 * Items of a response that carry their content, by the fields that have it. Any other that has an id may be no more than the name of
 * what the provider has stored: a picture that it drew, a search that it ran.
 */
export const CONTENT_OF: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['message', ['content']],
  ['reasoning', ['encrypted_content']],
  ['compaction', ['encrypted_content']],
  ['function_call', ['arguments']],
  ['function_call_output', ['output']],
  ['custom_tool_call', ['input']],
  ['custom_tool_call_output', ['output']],
  ['computer_call', ['action', 'actions']],
  ['computer_call_output', ['output']],
  ['local_shell_call', ['action']],
  ['local_shell_call_output', ['output']],
  ['shell_call', ['action']],
  ['shell_call_output', ['output']],
  ['apply_patch_call', ['operation']],
  ['apply_patch_call_output', ['status']],
  ['tool_search_call', ['arguments']],
  ['tool_search_output', ['tools']],
]);
