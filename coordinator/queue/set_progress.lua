-- Keeps the newest progress of a running job; anything late is dropped without a word.
-- KEYS: job   ARGV: attempt, progress
if field(KEYS[1], 'phase') == 'running' and field(KEYS[1], 'attempt') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'progress', ARGV[2])
end
return {'ok'}
