-- Before every script: what they share. Keys are named in redis.md. It is made anew for each call, hence is short.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number_text(value)
  return string.format('%.0f', value)
end

-- What changes of a job is one field of its hash, words between tabs: to read and to write one costs a fifth of many.
local word = '([^\t]*)\t'
local state_words = '^' .. word .. word .. word .. word .. word .. word .. word .. word .. word .. word .. word ..
                    word .. '(.*)$'

-- Nil when there is no such job.
local function read_state(job)
  local text = redis.call('HGET', job, 'state')
  if not text then
    return nil
  end
  local phase, attempt, stop, workers, sequence, priority, created, queued, started, finished, device, placement, calls =
    string.match(text, state_words)
  return {phase = phase, attempt = attempt, stop = stop, workers = workers, sequence = sequence, priority = priority,
          created_at_ms = created, queued_at_ms = queued, started_at_ms = started, finished_at_ms = finished,
          device_ms = device, placement = placement, calls = calls}
end

-- With further fields and values of the hash, where given.
local function write_state(job, s, ...)
  local text = s.phase .. '\t' .. s.attempt .. '\t' .. s.stop .. '\t' .. s.workers .. '\t' .. s.sequence .. '\t' ..
               s.priority .. '\t' .. s.created_at_ms .. '\t' .. s.queued_at_ms .. '\t' .. s.started_at_ms .. '\t' ..
               s.finished_at_ms .. '\t' .. s.device_ms .. '\t' .. s.placement .. '\t' .. s.calls
  redis.call('HSET', job, 'state', text, ...)
end

-- The n-th entry of the list is event n: there can be no gap.
local function add_event(events, event, created_at_ms)
  redis.call('RPUSH', events, created_at_ms .. ' ' .. event)
end

-- Priority first, then submission: equal scores are ordered by the member, which begins with the sequence number.
local function member_of(state, id)
  return string.format('%016d', tonumber(state.sequence)) .. ':' .. id
end
local function add_queued(queued, state, id)
  redis.call('ZADD', queued, number_text(-tonumber(state.priority)), member_of(state, id))
end
local function remove_queued(queued, state, id)
  redis.call('ZREM', queued, member_of(state, id))
end

-- Tells those who know the queue that a job which may have waited before waits again.
local requeued_kept = 10000
local function note_requeued(id)
  local count = redis.call('INCR', 'tf:requeues')
  redis.call('ZADD', 'tf:requeued', number_text(count), id)
  if count % requeued_kept == 0 then
    redis.call('ZREMRANGEBYRANK', 'tf:requeued', 0, -requeued_kept - 1)
  end
end

local function is_final(phase)
  return phase == 'succeeded' or phase == 'failed' or phase == 'cancelled'
end

-- The same call may arrive twice when its answer was lost: the second time it is told that it is done. A job
-- remembers its last calls; a repeat comes at once, so a few are enough.
local remembered_calls = 160  -- characters
local function has_call(state, call)
  return string.find(state.calls .. ' ', ' ' .. call .. ' ', 1, true) ~= nil
end
local function remember_call(state, call)
  local calls = state.calls .. ' ' .. call
  if #calls > remembered_calls then
    local first = string.find(calls, ' ', #calls - remembered_calls + 1, true)
    calls = string.sub(calls, first)
  end
  state.calls = calls
end

local function refuse(code, message)
  return {code, message}
end
local function not_found(id)
  return refuse('not_found', 'no such job: ' .. id)
end
local function ended_already(id, phase)
  return refuse('conflict', 'the job has ended already (' .. phase .. '): ' .. id)
end
local function done(hash)
  return {'ok', redis.call('HGETALL', hash)}
end

-- A refusal when somebody who leads no longer asks; generation 0 is not the leader's doing.
local function fenced(leader, generation)
  if generation == '0' then
    return nil
  end
  local leading = redis.call('HGET', leader, 'generation') or '0'
  if leading == generation then
    return nil
  end
  return refuse('permission_denied', 'another coordinator leads, in generation ' .. leading .. ', not ' .. generation)
end
