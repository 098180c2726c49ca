-- Keeps the newest progress of a running job; anything late is dropped without a word.
-- KEYS: job   ARGV: attempt, progress
local state = read_state(KEYS[1])
if state and state.phase == 'running' and state.attempt == ARGV[1] then
  redis.call('HSET', KEYS[1], 'progress', ARGV[2])
end
return {'ok'}
