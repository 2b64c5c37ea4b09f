/** Step 1: the presented API key → a principal. The customer API takes the same keys, so the rules are in accounts. */
export { accept, authenticate, authenticateReader, type Caller } from '../accounts/authenticate.ts';
